//! What an explanation costs, in µs of CPU per row: beside scoring the same rows, and beside other libraries.
//!
//! `make bench`, or `cargo bench --bench explain -- [PACKAGE…]` with `ORT_DYLIB_PATH` set. One thread, the best of
//! several rounds. The other libraries need `PROBITY_ORACLES`, the Python of `tests/python/oracles.lock`.

mod beside;
#[path = "../common/cpu.rs"]
mod cpu;
mod payments;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;
use probity::explain::{Attributions, Explainer};
use probity::infer::{Model, Provider, Runtime};
use probity::package::Package;

const BATCHES: [usize; 4] = [1, 16, 64, 1024];
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(50);
const MEMORY: usize = 256 << 20;

fn main() {
    let asked = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"));
    let folders: Vec<PathBuf> = asked.map(PathBuf::from).collect();
    if !folders.is_empty() {
        for folder in folders {
            let subject = Subject::open(&folder);
            let golden = subject.package.golden.as_ref();
            let golden = golden.expect("the package has golden rows").columns.clone();
            table(subject, &golden);
        }
        return;
    }
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/models");
    let payments = payments::generate();
    for name in ["card-risk", "card-risk-mlp"] {
        table(Subject::open(&models.join(name)), &payments.to_explain());
    }
    beside::table(&payments);
}

/// A package that is ready to score and to explain.
struct Subject {
    package: Package,
    model: Model,
    explainer: Explainer,
    prepared: Duration,
}

impl Subject {
    fn open(folder: &Path) -> Subject {
        let package = Package::load(folder).unwrap_or_else(|fatal| panic!("{fatal}"));
        let runtime =
            Runtime::load(None).unwrap_or_else(|fatal| panic!("{fatal}: use `make bench`"));
        let mut model =
            Model::open(&package, runtime, &[Provider::Cpu]).expect("the package is whole");
        let start = Instant::now();
        let explainer = Explainer::open(&package, &mut model, MEMORY)
            .unwrap_or_else(|fatal| panic!("{fatal}"))
            .expect("the package has [reasons]");
        Subject {
            prepared: start.elapsed(),
            package,
            model,
            explainer,
        }
    }

    fn explain(&mut self, features: &[ArrayRef]) -> Attributions {
        let scored = self.model.run(features).expect("the model runs");
        let all: Vec<usize> = (0..features[0].len()).collect();
        let margins = scored.margin.as_deref();
        let found = self
            .explainer
            .explain(&mut self.model, features, margins, &all);
        found.expect("the model runs")
    }

    /// µs per row to score these rows and to explain them, in batches of `rows`.
    fn costs(&mut self, features: &[ArrayRef], rows: usize) -> [f64; 2] {
        let batches = batches(features, rows);
        let rows = batches.len() * rows;
        let margins: Vec<Option<Vec<f32>>> = batches
            .iter()
            .map(|batch| self.model.run(batch).expect("the model runs").margin)
            .collect();
        let scored = cpu::best(ROUNDS, ROUND, rows, || {
            for batch in &batches {
                black_box(self.model.run(batch).expect("the model runs"));
            }
        });
        let explained = cpu::best(ROUNDS, ROUND, rows, || {
            for (batch, margins) in batches.iter().zip(&margins) {
                let all: Vec<usize> = (0..batch[0].len()).collect();
                let margins = margins.as_deref();
                let found = self
                    .explainer
                    .explain(&mut self.model, batch, margins, &all);
                black_box(found.expect("the model runs"));
            }
        });
        [scored, explained]
    }
}

fn table(mut subject: Subject, features: &[ArrayRef]) {
    let (title, summary) = (subject.package.title(), subject.explainer.summary());
    println!("{title}: {summary}");
    println!(
        "prepared in {:.0} ms; µs of CPU per row in batches of",
        subject.prepared.as_secs_f64() * 1e3
    );
    print!("{:>12}", "");
    BATCHES.iter().for_each(|rows| print!("{rows:>9}"));
    // An approximate explanation costs a thousand times as much.
    let sample = match subject.explainer.evaluations() {
        0 => features.to_vec(),
        _ => features.iter().map(|column| column.slice(0, 64)).collect(),
    };
    let costs = BATCHES.map(|rows| subject.costs(&sample, rows));
    for (line, name) in ["score", "explain"].iter().enumerate() {
        print!("\n{name:>12}");
        costs.iter().for_each(|cost| print!("{:>9.2}", cost[line]));
    }
    println!("\n");
}

/// These rows in batches of so many; where there are fewer rows, they are repeated for one batch.
fn batches(columns: &[ArrayRef], rows: usize) -> Vec<Vec<ArrayRef>> {
    let have = columns[0].len();
    if have < rows {
        let indices = UInt32Array::from_iter_values((0..rows).map(|row| (row % have) as u32));
        let repeated = columns.iter().map(|column| take(column, &indices, None));
        let batch = repeated.collect::<Result<_, _>>();
        return vec![batch.expect("they are there")];
    }
    let starts = (0..have / rows).map(|batch| batch * rows);
    starts
        .map(|start| columns.iter().map(|c| c.slice(start, rows)).collect())
        .collect()
}
