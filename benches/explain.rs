//! What an explanation costs, in µs per row, beside scoring the same rows.
//!
//! `make bench`, or `cargo bench --bench explain -- [PACKAGE…]` with `ORT_DYLIB_PATH` set. Rows are the package's
//! golden rows, repeated; one thread, the best of several rounds.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;
use probity::explain::Explainer;
use probity::infer::{Model, Provider, Runtime};
use probity::package::Package;

const BATCHES: [usize; 4] = [1, 16, 64, 1024];
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(300);
const MEMORY: usize = 256 << 20;

fn main() {
    let asked = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"));
    let mut folders: Vec<PathBuf> = asked.map(PathBuf::from).collect();
    if folders.is_empty() {
        let models = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config/models");
        folders = vec![models.join("card-risk"), models.join("card-risk-mlp")];
    }
    for folder in folders {
        table(&Package::load(&folder).unwrap_or_else(|fatal| panic!("{fatal}")));
    }
}

fn table(package: &Package) {
    let runtime = Runtime::load(None).unwrap_or_else(|fatal| panic!("{fatal}: use `make bench`"));
    let mut model = Model::open(package, runtime, &[Provider::Cpu]).expect("the package is whole");
    let start = Instant::now();
    let explainer = Explainer::open(package, &mut model, MEMORY)
        .unwrap_or_else(|fatal| panic!("{fatal}"))
        .expect("the package has [reasons]");
    println!("{}: {}", package.title(), explainer.summary());
    println!(
        "prepared in {:.0} ms; µs per row for batches of",
        start.elapsed().as_secs_f64() * 1e3
    );
    print!("{:>12}", "");
    BATCHES.iter().for_each(|rows| print!("{rows:>9}"));
    let golden = &package
        .golden
        .as_ref()
        .expect("the package has golden rows")
        .columns;
    let mut lines = [Vec::new(), Vec::new()];
    for rows in BATCHES {
        let features = repeated(golden, rows);
        let margins = model.run(&features).expect("the model runs").margin;
        let all: Vec<usize> = (0..rows).collect();
        lines[0].push(best(rows, || {
            black_box(model.run(&features).expect("the model runs"));
        }));
        lines[1].push(best(rows, || {
            let found = explainer.explain(&mut model, &features, margins.as_deref(), &all);
            black_box(found.expect("the model runs"));
        }));
    }
    for (name, line) in ["score", "explain"].iter().zip(lines) {
        print!("\n{name:>12}");
        line.iter().for_each(|time| print!("{time:>9.2}"));
    }
    println!("\n");
}

/// So many rows, from these again and again.
fn repeated(columns: &[ArrayRef], rows: usize) -> Vec<ArrayRef> {
    let have = columns[0].len();
    let indices = UInt32Array::from_iter_values((0..rows).map(|row| (row % have) as u32));
    columns
        .iter()
        .map(|column| take(column, &indices, None).expect("they are there"))
        .collect()
}

/// µs per row, the best of the rounds.
fn best(rows: usize, mut run: impl FnMut()) -> f64 {
    run();
    let round = |_| {
        let start = Instant::now();
        let mut turns = 0;
        while start.elapsed() < ROUND / ROUNDS as u32 {
            run();
            turns += 1;
        }
        start.elapsed().as_secs_f64() * 1e6 / (turns * rows) as f64
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}
