//! What is done with a model package before it decides: it is looked at, checked, completed, and compared with another.
//!
//! [`inspect`] says what is in it, [`check`] asks everything that a start asks, [`pack`] makes the rows that it names
//! but lacks, and [`diff`] says what changes from one package to the next. Nothing here needs a broker. Packages are
//! read as a start reads them: with a trusted key, only what that key signed is parsed.

pub mod check;
pub mod description;
pub mod diff;
pub mod inspect;
mod onnx;
pub mod pack;

use std::path::Path;

use crate::config::Config;
use crate::error::Result;
use crate::package::Package;
use crate::setup;

/// The configuration with this package alone in the place of its own; `argument` names it in errors.
#[must_use]
pub fn configured(config: &Config, folder: &Path, argument: &'static str) -> Config {
    let mut config = config.clone();
    config.set_package(folder, argument);
    config.model.shadows.clear();
    config
}

/// The package in this folder, as a start would read it.
fn read(config: &Config, folder: &Path, argument: &'static str) -> Result<Package> {
    let config = configured(config, folder, argument);
    setup::package(&config, "model.package", folder)
}
