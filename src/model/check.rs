//! `probity model check`: everything that a start asks of a package, one line each.
//!
//! Runs the start itself and prints what it tells, so that nothing can pass here and be refused there. What is measured
//! at the end is a hint for whoever plans machines, and no benchmark: one thread, a fraction of a second.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;

use super::configured;
use crate::config::Config;
use crate::error::{Fatal, Result};
use crate::setup::Setup;

/// How long each of the two is measured.
const MEASURED: Duration = Duration::from_millis(200);
/// Rows that are scored or explained together while measuring.
const ROWS: usize = 256;
/// Of a method that runs the model for every explanation.
const ROWS_BY_RUNNING: usize = 4;

/// Starts with the package in `folder`, and prints a line for each thing as soon as it is known.
///
/// # Errors
/// As a start with this package, with its exit code.
pub fn run(config: &Config, folder: &Path, out: &mut dyn Write) -> Result<()> {
    let config = configured(config, folder, "FOLDER");
    let mut printed = Ok(());
    let mut print = |line: String| {
        if printed.is_ok() {
            printed = writeln!(out, "{line}");
        }
    };
    let loaded = Setup::load_telling(&config, &mut |well| print(format!("✔ {well}")));
    let outcome = match loaded {
        Ok(setup) => {
            print(measure(&setup)?);
            Ok(())
        }
        Err(fatal) => {
            print(format!("✘ {fatal}"));
            let folder = folder.display();
            Err(Fatal::new(
                fatal.exit,
                format!("a start would refuse {folder}; what comes after the ✘ was not looked at"),
            ))
        }
    };
    printed.map_err(|error| Fatal::unreachable("printing").because(error))?;
    outcome
}

fn measure(setup: &Setup) -> Result<String> {
    let mut model = setup.model()?;
    let rows = repeated(&setup.trial_rows(), ROWS);
    let scoring = per_row(ROWS, || model.run(&rows).map(drop))?;
    let mut text = format!("  scoring takes {scoring:.1} µs a row");
    if let Some(narrator) = setup.narrator()
        && let Some(explainer) = narrator.explainer()
    {
        let count = match explainer.evaluations() {
            0 => ROWS,
            _ => ROWS_BY_RUNNING,
        };
        let rows = repeated(&setup.trial_rows(), count);
        let margins = model.run(&rows)?.margin;
        let numbers: Vec<usize> = (0..count).collect();
        let explaining = per_row(count, || {
            let told = narrator.explain(&mut model, &rows, margins.as_deref(), &numbers);
            told.map(drop)
        })?;
        text += &format!(", explaining {explaining:.1} µs");
    }
    Ok(text
        + &format!(
            ": measured here and now, {} ms each, one thread, batches of {ROWS}; no benchmark",
            MEASURED.as_millis()
        ))
}

/// The rows again and again, until there are so many.
fn repeated(columns: &[ArrayRef], rows: usize) -> Vec<ArrayRef> {
    let there = u32::try_from(columns[0].len()).expect("a sample has few rows");
    let order: UInt32Array = (0..)
        .take(rows)
        .map(|row| row % there)
        .collect::<Vec<u32>>()
        .into();
    let repeat = |column| take(column, &order, None).expect("the rows are there");
    columns.iter().map(|column| repeat(column)).collect()
}

/// Microseconds for each of the rows that `turn` works on.
fn per_row(rows: usize, mut turn: impl FnMut() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    let mut turns = 0_u32;
    while turns == 0 || start.elapsed() < MEASURED {
        turn()?;
        turns += 1;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / (f64::from(turns) * rows as f64))
}
