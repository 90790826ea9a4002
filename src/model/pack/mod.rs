//! `probity model pack`: completes a package with the files of rows that its `model.toml` names and its folder lacks.
//!
//! Rows are made up, never copied from the sample ([`synthetic`]). Golden rows that are made here say what this model
//! gives: later they show that it stayed what it was, not that it is what its trainer meant. `deploy/pack_model`
//! compares a package with the library that trained it. The new folder is there with all of its files, and found well by
//! [`super::check`], or not at all.

mod folder;
mod reference;
mod sample;
mod synthetic;

use std::io::Write;
use std::path::{Path, PathBuf};

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;

use crate::config::Config;
use crate::error::{Fatal, Result};
use crate::explain::Explainer;
use crate::infer::{Model, Provider, Runtime};
use crate::package::{Background, Golden, Outline, Package, SIGNATURE};
use folder::Staged;
use sample::Sample;

/// What to complete, and with what.
pub struct Request {
    /// `model.toml`, the ONNX file, and whatever else is there already.
    pub folder: PathBuf,
    /// A Parquet file with a column for each feature.
    pub rows: PathBuf,
    /// The folder to write.
    pub out: PathBuf,
    /// The same seed makes the same rows.
    pub seed: u64,
    pub golden_rows: usize,
    pub background_rows: usize,
}

/// A file that is made if the package names it and lacks it. In the order in which they are made: contributions of
/// golden rows need the background.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Background,
    Golden,
    Reference,
}

impl Part {
    const ALL: [Part; 3] = [Part::Background, Part::Golden, Part::Reference];

    /// What `model.toml` calls it, if it does.
    fn file(self, outline: &Outline) -> Option<&str> {
        match self {
            Part::Background => outline.background_file.as_deref(),
            Part::Golden => outline.golden_file.as_deref(),
            Part::Reference => outline.reference_file.as_deref(),
        }
    }

    /// How to get it, for who may have forgotten it.
    fn hint(self) -> &'static str {
        match self {
            Part::Background => "no reasons: decisions will not be explained; see [reasons]",
            Part::Golden => "no golden rows: write golden = \"golden.json\" under [model]",
            Part::Reference => {
                "no reference for drift: write reference = \"reference.json\" under [model]"
            }
        }
    }
}

/// Writes the completed package, and prints what was made and what a start says of it.
///
/// # Errors
/// When there is something in the place of the new folder, the sample does not fit the features, or a start would
/// refuse the package.
pub fn run(config: &Config, request: &Request, out: &mut dyn Write) -> Result<()> {
    let outline = Package::load_outline(&request.folder)?;
    let sample = Sample::read(&request.rows, &outline.features)?;
    let staged = Staged::copy(&request.folder, &request.out)?;
    let mut said = Vec::new();
    let mut golden_is_made = false;
    for part in Part::ALL {
        let line = match part.file(&outline) {
            None => format!("model.toml names {}", part.hint()),
            Some(file) if staged.path().join(file).exists() => format!("{file} is kept"),
            Some(file) => {
                let text = make(part, config, request, &staged, &sample)?;
                staged.write(file, &text.content)?;
                golden_is_made |= part == Part::Golden;
                format!("{file} is made: {}", text.said)
            }
        };
        said.push(line);
    }
    print(out, &said.join("\n"))?;
    check(config, request, &staged, out)?;
    let package = Package::load(staged.path())?;
    staged.publish()?;
    print(out, &farewell(request, &package, golden_is_made))
}

fn print(out: &mut dyn Write, text: &str) -> Result<()> {
    writeln!(out, "{text}").map_err(|error| Fatal::unreachable("printing").because(error))
}

/// A file that was made, and what to say of it.
struct Made {
    content: String,
    said: String,
}

fn make(
    part: Part,
    config: &Config,
    request: &Request,
    staged: &Staged,
    sample: &Sample,
) -> Result<Made> {
    let made = match part {
        Part::Background => Ok(background(request, sample)),
        Part::Golden => golden(config, request, staged.path(), sample),
        Part::Reference => reference(config, staged.path(), sample),
    };
    made.map_err(|fatal| staged.in_source(&fatal))
}

/// Counts of the sample's rows, in which none of them can be seen.
fn reference(config: &Config, folder: &Path, sample: &Sample) -> Result<Made> {
    let package = Package::load_draft(folder)?;
    let runtime = Runtime::load(config.model.runtime.as_deref())?;
    let mut model = Model::open(&package, runtime, &[Provider::Cpu])?;
    let columns = accepted(&package, &mut model, &sample.columns)?;
    let found = reference::of(&mut model, &package.features, &columns)?;
    let (rows, features) = (found.score.rows(), found.features.len());
    Ok(Made {
        content: found.to_json(&package.features),
        said: format!("the score and {features} features in {rows} rows"),
    })
}

fn background(request: &Request, sample: &Sample) -> Made {
    let rows = request.background_rows;
    let columns = synthetic::rows(sample, rows, request.seed, synthetic::Purpose::Background);
    let said = made_up(rows, sample, &columns);
    let content = Background { columns, rows }.to_json(&sample.features);
    Made { content, said }
}

fn golden(config: &Config, request: &Request, folder: &Path, sample: &Sample) -> Result<Made> {
    let package = Package::load_draft(folder)?;
    let runtime = Runtime::load(config.model.runtime.as_deref())?;
    let mut model = Model::open(&package, runtime, &[Provider::Cpu])?;
    let purpose = synthetic::Purpose::Golden;
    let drawn = synthetic::rows(sample, request.golden_rows, request.seed, purpose);
    let drawn = synthetic::with_edges(sample, drawn);
    let columns = accepted(&package, &mut model, &drawn)?;
    let scored = model.run(&columns)?;
    let rows = scored.score.len();
    let mut golden = Golden {
        columns,
        score: scored.score,
        margin: scored.margin,
        base: None,
        contributions: None,
    };
    let mut said = made_up(rows, sample, &golden.columns);
    let left_out = drawn[0].len() - rows;
    if left_out > 0 {
        said += &format!("; {left_out} more get no score from the model, and are left out");
    }
    let explainer = Explainer::open(&package, &mut model, config.explain.memory_bytes)?;
    if let Some(explainer) = explainer.filter(|explainer| explainer.evaluations() == 0) {
        let numbers: Vec<usize> = (0..rows).collect();
        let found = explainer.explain(&mut model, &golden.columns, None, &numbers)?;
        golden.base = Some(found.base);
        golden.contributions = Some(found.contributions);
        said += "; with their contributions";
    }
    let largest = model.chunk_sizes().last().copied().unwrap_or_default();
    let content = golden.to_json(&package.features, runtime.version(), largest);
    Ok(Made { content, said })
}

/// The rows that the model gives a score.
fn accepted(package: &Package, model: &mut Model, columns: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
    let scored = model.run(columns)?;
    let rejected = scored.rejected.iter().enumerate();
    let rows = rejected.filter(|(_, rejection)| rejection.is_none());
    let rows = rows.map(|(row, _)| u32::try_from(row).expect("few rows are made"));
    let rows: UInt32Array = rows.collect::<Vec<u32>>().into();
    if rows.is_empty() {
        return Err(Fatal::usage(format!(
            "the model {} gives none of the made-up rows a score; look at what it makes of a row of the sample",
            package.title()
        )));
    }
    let kept = columns.iter().map(|column| take(column, &rows, None));
    Ok(kept.collect::<Result<_, _>>().expect("the rows are there"))
}

fn made_up(rows: usize, sample: &Sample, columns: &[ArrayRef]) -> String {
    let copies = sample.holds(columns);
    let there = sample.rows();
    format!("{rows} rows, made up from {there}; {copies} have the values of one of them by chance")
}

/// What a start says of the staged folder. It is not signed yet, so nobody asks for a signature.
fn check(config: &Config, request: &Request, staged: &Staged, out: &mut dyn Write) -> Result<()> {
    let mut config = config.clone();
    config.model.trust_key = None;
    let mut lines = Vec::new();
    let checked = super::check::run(&config, staged.path(), &mut lines);
    let lines = String::from_utf8(lines).expect("lines are text");
    print(out, staged.renamed(&lines).trim_end())?;
    checked.map_err(|fatal| {
        let folder = request.out.display();
        Fatal::new(
            fatal.exit,
            format!("a start would refuse the package, so {folder} is not written"),
        )
    })
}

fn farewell(request: &Request, package: &Package, golden_is_made: bool) -> String {
    let (folder, signature) = (request.out.display(), request.out.join(SIGNATURE));
    let of_golden = match golden_is_made {
        true => {
            "\ngolden rows that are made here show that the model stays what it was, not that it is what its trainer \
             meant; deploy/pack_model compares it with the library that trained it"
        }
        false => "",
    };
    format!(
        "{folder} is written, sha256 {}{of_golden}\nit is not signed:\n  model_signing sign key {folder} --private_key KEY.pem --signature {}",
        package.digest(),
        signature.display()
    )
}
