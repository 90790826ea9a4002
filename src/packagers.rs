//! The commands for who makes model packages, and for who must know them: they need no broker.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use probity::audit::Output;
use probity::config::Config;
use probity::error::Result;
use probity::model::{check, diff, inspect, pack};
use probity::package::{BACKGROUND_ROWS_MAX, GOLDEN_ROWS_MAX};
use probity::sink::{Lines, Sink};

use crate::auditors::Form;

#[derive(Subcommand)]
pub enum Model {
    /// Show what is in a package
    ///
    /// Files, ONNX graph, features, policy, reasons. Needs no ONNX Runtime. With model.trust_key, only a package that
    /// this key signed is read.
    Inspect {
        /// The folder of the package
        folder: PathBuf,
        /// How it is written
        #[arg(long, value_enum, default_value = "text")]
        output: Form,
    },
    /// Ask of a package everything that a start asks, each with the fix
    ///
    /// With the schema, the trusted key, the providers and the limits of the configuration. Ends with the exit code of
    /// such a start.
    Check {
        /// The folder of the package
        folder: PathBuf,
    },
    /// Complete a package with the rows that it names and lacks, and check it
    ///
    /// Makes background rows, golden rows and the reference for drift from a sample of what the model is fed. Rows are
    /// made up: each column is distributed as in the sample and drawn on its own, so none is copied from a customer's.
    ///
    /// Golden rows that are made here show that the model stays what it was, not that it is what its trainer meant. To
    /// compare a package with the library that trained the model, make it with deploy/pack_model.
    Pack(Pack),
    /// Compare two packages
    ///
    /// Ends with 0 if nothing differs, with 1 if something does, and with more if a package cannot be read or its model
    /// not be run.
    Diff {
        /// The folder of the package that decides now
        old: PathBuf,
        /// The folder of the one that is to follow it
        new: PathBuf,
        /// How it is written
        #[arg(long, value_enum, default_value = "text")]
        output: Form,
    },
}

#[derive(Args)]
pub struct Pack {
    /// The folder with model.toml, the ONNX file, and whatever else is there; a signature stays behind
    folder: PathBuf,
    /// A sample of the features, as `probity score --features` writes it
    #[arg(long, value_name = "FILE.parquet")]
    rows: PathBuf,
    /// The folder to write; it must not be there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The same seed makes the same rows
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many golden rows; two are added in which all is zero, and all is missing
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = up_to(GOLDEN_ROWS_MAX - 2))]
    golden_rows: u64,
    /// How many background rows
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = up_to(BACKGROUND_ROWS_MAX))]
    background_rows: u64,
}

fn up_to(most: usize) -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=most as u64)
}

pub fn run(config: &Config, command: &Model) -> Result<()> {
    match command {
        Model::Inspect { folder, output } => {
            inspect::run(config, folder, Output::from(*output), Sink::open(None)?)
        }
        Model::Check { folder } => check::run(config, folder, &mut Lines::stdout()),
        Model::Pack(arguments) => {
            let request = pack::Request {
                folder: arguments.folder.clone(),
                rows: arguments.rows.clone(),
                out: arguments.out.clone(),
                seed: arguments.seed,
                golden_rows: arguments.golden_rows as usize,
                background_rows: arguments.background_rows as usize,
            };
            pack::run(config, &request, &mut Lines::stdout())
        }
        Model::Diff { old, new, output } => {
            diff::run(config, old, new, Output::from(*output), Sink::open(None)?)
        }
    }
}
