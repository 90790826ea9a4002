//! What a start tells of a package that it found well, thing by thing.

use super::{Setup, device};
use crate::config::Config;
use crate::explain::live::Rows;
use crate::infer::Model;
use crate::package::Package;

/// That the model runs is then all that is known of it.
pub(super) const NO_GOLDEN_ROWS: &str =
    "the package has no golden rows, so nothing says what the model should give";

pub(super) fn package(config: &Config, package: &Package) -> String {
    let files: Vec<&str> = package.files().iter().map(|part| &*part.file).collect();
    let signed = match &config.model.trust_key {
        Some(key) => format!("signed by {}", key.display()),
        None => "no signature is asked for: model.trust_key is not set".to_owned(),
    };
    let (title, digest, files) = (package.title(), package.digest(), files.join(", "));
    format!("package {title}, sha256 {digest}: {files}; {signed}")
}

/// `1 rule fits …`, `2 rules fit …`.
pub(super) fn fitting(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what} fits the input schema, and reads nothing personal"),
        _ => format!("{count} {what}s fit the input schema, and read nothing personal"),
    }
}

impl Setup {
    pub(super) fn describe_model(&self, model: &Model) -> String {
        let rows = match &self.package.golden {
            Some(golden) => match golden.score.len() {
                1 => "1 golden row has its known answer".to_owned(),
                rows => format!("{rows} golden rows have their known answers"),
            },
            None => NO_GOLDEN_ROWS.to_owned(),
        };
        let file = &self.package.model.file;
        let (provider, nodes) = (model.provider(), device::said(model.nodes()));
        format!("{file} takes and gives what model.toml says, on {provider}{nodes}; {rows}")
    }

    pub(super) fn describe_admission(&self, model: &Model) -> String {
        let (used, named) = (model.chunk_sizes(), &self.package.chunk_rows);
        let why = match model.too_large() {
            _ if used == named.as_slice() => String::new(),
            Some(rows) => format!("; the device's memory does not hold {rows}"),
            None => {
                format!("; model.toml names {named:?}, but only these are found to give equal bits")
            }
        };
        format!("{}, in chunks of {used:?} rows{why}", self.admission)
    }

    /// How decisions are explained, for people and logs.
    #[must_use]
    pub fn describe_reasons(&self) -> String {
        match &self.narrator {
            None => "decisions are not explained: the package has no [reasons]".to_owned(),
            Some(narrator) => {
                let Some(explainer) = narrator.explainer() else {
                    return "no event is explained: explain.rows is \"none\"".to_owned();
                };
                let rows = match narrator.rows() {
                    Rows::None => "no event".to_owned(),
                    Rows::All => "all events".to_owned(),
                    Rows::NotApproved { one_in: 0 } => "events that are not approved".to_owned(),
                    Rows::NotApproved { one_in } => {
                        format!("events that are not approved, and one in {one_in} of the others")
                    }
                };
                format!("{} for {rows}: {}", explainer.method(), explainer.summary())
            }
        }
    }

    /// One line for people and logs.
    #[must_use]
    pub fn describe(&self) -> String {
        let unknown = match self.package.golden {
            Some(_) => String::new(),
            None => format!("; {}", NO_GOLDEN_ROWS),
        };
        format!(
            "model {} (sha256 {:.12}) on onnxruntime {} {}{}, {}{unknown}",
            self.package.title(),
            self.package.model.digest.to_string(),
            self.runtime.version(),
            self.provider,
            device::said(self.nodes.as_ref()),
            self.admission
        )
    }
}
