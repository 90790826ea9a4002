//! A provider beside the CPU: the same answers, which nodes run where, rows and explanations a second.
//!
//! `make gpu LIBS=FOLDER` on a machine with a GPU; `deploy/gpu.sh --provider cpu` tries the program itself on one
//! without. Rows are the package's golden rows, repeated and moved a little, so that no two are the same; one thread,
//! one session, the best of several rounds. It fails where the provider's answers are not the CPU's.

use std::hint::black_box;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray as _, Float32Array, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Float32Type};
use probity::error::Fatal;
use probity::explain::Explainer;
use probity::infer::{Gpu, Model, Provider, Runtime, Scored};
use probity::package::Package;
use probity::record::Decision;

const MODELS: [&str; 2] = ["card-risk-mlp", "card-risk"];
const BATCHES: [usize; 6] = [64, 256, 1024, 4096, 16_384, 65_536];
/// A GPU wants larger chunks than the packages are shipped with.
const CHUNK_ROWS: [usize; 3] = [64, 512, 4096];
const PARITY_ROWS: usize = 16_384;
/// How far a probability may be from the CPU's, as when decisions are repeated from an archive. A decision differs then
/// only at a threshold.
const PARITY: f32 = 1e-6;
const EXPLAINED_ROWS: usize = 64;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(200);
const MEMORY: usize = 256 << 20;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let at = words.iter().position(|word| word == "--provider");
    let Some(name) = at.and_then(|at| words.get(at + 1)) else {
        // `cargo bench` runs all benches, on any machine.
        println!("skipped: gpu: no provider is named; use `make gpu LIBS=FOLDER`");
        return ExitCode::SUCCESS;
    };
    let gpu = Gpu::default();
    let providers = match name.as_str() {
        "cpu" => vec![Provider::Cpu],
        "cuda" => vec![Provider::Cuda(gpu), Provider::Cpu],
        "tensorrt" => vec![Provider::TensorRt(gpu), Provider::Cuda(gpu), Provider::Cpu],
        other => {
            eprintln!("{other} is no provider; write cpu, cuda or tensorrt");
            return ExitCode::from(2);
        }
    };
    let runtime = Runtime::load(None).unwrap_or_else(stop);
    println!(
        "onnxruntime {} from {}",
        runtime.version(),
        runtime.library().display()
    );
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config/models");
    let compared = MODELS.map(|model| {
        let mut package = Package::load(&folder.join(model)).unwrap_or_else(stop);
        package.chunk_rows = CHUNK_ROWS.to_vec();
        Compared::new(&package, runtime, &providers).report(&package)
    });
    if compared.iter().all(|equal| *equal) {
        ExitCode::SUCCESS
    } else {
        println!("{name} does not give the answers of cpu");
        ExitCode::FAILURE
    }
}

/// One package on the CPU, and on the provider that is looked at.
struct Compared {
    cpu: Model,
    other: Model,
    rows: Vec<ArrayRef>,
}

impl Compared {
    fn new(package: &Package, runtime: &Runtime, providers: &[Provider]) -> Compared {
        let open = |providers: &[Provider]| {
            Model::open_and_look(package, runtime, providers).unwrap_or_else(stop)
        };
        let golden = package.golden.as_ref().expect("there are golden rows");
        let rows = moved(&golden.columns, BATCHES[BATCHES.len() - 1]);
        let (cpu, other) = (open(&[Provider::Cpu]), open(providers));
        Compared { cpu, other, rows }
    }

    /// Prints everything, and says whether the answers are the same.
    fn report(mut self, package: &Package) -> bool {
        println!("\n{}", package.title());
        for model in [&self.cpu, &self.other] {
            let nodes = model.nodes().expect("they were looked for");
            let admission = model.admission().expect("there are golden rows");
            let sizes = model.chunk_sizes();
            println!(
                "  {}: {nodes}; {admission}, chunks of {sizes:?}",
                model.provider()
            );
        }
        let equal = self.parity(package);
        self.throughput();
        self.explanations(package);
        equal
    }

    fn parity(&mut self, package: &Package) -> bool {
        let rows = first(&self.rows, PARITY_ROWS);
        let [left, right] =
            [&mut self.cpu, &mut self.other].map(|model| model.run(&rows).unwrap_or_else(stop));
        let decide = |scored: &Scored| -> Vec<Decision> {
            let scores = scored.score.iter();
            scores
                .map(|score| package.policy.by_thresholds(*score))
                .collect()
        };
        let (left_decisions, right_decisions) = (decide(&left), decide(&right));
        let pairs = left_decisions.iter().zip(&right_decisions);
        let others = pairs.filter(|(left, right)| left != right).count();
        let probabilities = distance(Some(&left.score), Some(&right.score));
        println!(
            "  parity over {PARITY_ROWS} rows: largest difference of margins {:.3e}, of probabilities {probabilities:.3e} \
             (at most {PARITY:.0e}); {others} decisions differ",
            distance(left.margin.as_deref(), right.margin.as_deref()),
        );
        probabilities <= PARITY
    }

    fn throughput(&mut self) {
        print!("  {:<28}", "rows/s in batches of");
        BATCHES.iter().for_each(|rows| print!("{rows:>12}"));
        for model in [&mut self.cpu, &mut self.other] {
            print!("\n  {:<28}", model.provider().to_owned());
            for rows in BATCHES {
                let batch = first(&self.rows, rows);
                let rate = best(rows, || {
                    black_box(model.run(&batch).unwrap_or_else(stop));
                });
                print!("{rate:>12.0}");
            }
        }
        println!();
    }

    fn explanations(&mut self, package: &Package) {
        let rows = first(&self.rows, EXPLAINED_ROWS);
        let all: Vec<usize> = (0..EXPLAINED_ROWS).collect();
        for model in [&mut self.cpu, &mut self.other] {
            let explainer = Explainer::open(package, model, MEMORY)
                .unwrap_or_else(stop)
                .expect("the package has [reasons]");
            if explainer.evaluations() == 0 {
                println!("  explanations are exact, of the trees: the model is not run for them");
                return;
            }
            let margins = model.run(&rows).expect("it ran above").margin;
            let rate = best(EXPLAINED_ROWS, || {
                let found = explainer.explain(model, &rows, margins.as_deref(), &all);
                black_box(found.unwrap_or_else(stop));
            });
            println!(
                "  {:<28}{rate:>12.0} explanations/s ({}, {} runs of the model each)",
                model.provider(),
                explainer.method(),
                explainer.evaluations()
            );
        }
    }
}

/// What is missing is for whoever runs this to mend, and no bug.
fn stop<T>(fatal: Fatal) -> T {
    eprintln!("{fatal}");
    std::process::exit(i32::from(fatal.exit as u8))
}

/// So many rows, from these again and again, floats moved by up to a thousandth.
fn moved(columns: &[ArrayRef], rows: usize) -> Vec<ArrayRef> {
    let have = columns[0].len();
    let order = UInt32Array::from_iter_values((0..rows).map(|row| (row % have) as u32));
    let step = |row: usize| 1.0 + 1e-3 * (row / have) as f32 / rows.div_ceil(have) as f32;
    let column = |column: &ArrayRef| -> ArrayRef {
        let column = take(column, &order, None).expect("they are there");
        if *column.data_type() != DataType::Float32 {
            return column;
        }
        let numbers = column.as_primitive::<Float32Type>().iter().enumerate();
        Arc::new(
            numbers
                .map(|(row, number)| number.map(|number| number * step(row)))
                .collect::<Float32Array>(),
        )
    };
    columns.iter().map(column).collect()
}

fn first(columns: &[ArrayRef], rows: usize) -> Vec<ArrayRef> {
    columns.iter().map(|column| column.slice(0, rows)).collect()
}

fn distance(left: Option<&[f32]>, right: Option<&[f32]>) -> f32 {
    let pairs = left.into_iter().flatten().zip(right.into_iter().flatten());
    pairs.fold(0.0, |largest, (left, right)| {
        (left - right).abs().max(largest)
    })
}

/// Rows a second, the best of the rounds.
fn best(rows: usize, mut run: impl FnMut()) -> f64 {
    run();
    let round = |_| {
        let start = Instant::now();
        let mut turns = 0;
        while turns == 0 || start.elapsed() < ROUND {
            run();
            turns += 1;
        }
        (turns * rows) as f64 / start.elapsed().as_secs_f64()
    };
    (0..ROUNDS).map(round).fold(0.0, f64::max)
}
