//! The rows that a score is compared with when it is explained.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::Array;
use serde::{Deserialize, Serialize};

use super::values::{self, Values};
use super::{Background, FeatureSpec};
use crate::error::{Fatal, Result};

/// An explanation costs work for every one of them.
pub const ROWS_MAX: usize = 200;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct BackgroundFile {
    columns: BTreeMap<String, Values>,
}

impl Background {
    /// The text of the file that reads back as these rows of these features.
    #[must_use]
    pub fn to_json(&self, features: &[FeatureSpec]) -> String {
        let columns = values::by_feature(features, &self.columns);
        let file = BackgroundFile { columns };
        serde_json::to_string_pretty(&file).expect("texts and numbers serialize") + "\n"
    }
}

/// Reads `bytes`, the content of the file at `path`.
pub(super) fn read(path: &Path, bytes: &[u8], features: &[FeatureSpec]) -> Result<Background> {
    let refuse = |problem: String| Fatal::usage(format!("{}: {problem}", path.display()));
    let file: BackgroundFile = serde_json::from_slice(bytes)
        .map_err(|error| refuse(values::unreadable("background rows", &error)))?;
    let columns = values::columns(file.columns, features).map_err(refuse)?;
    let rows = columns[0].len();
    if !(1..=ROWS_MAX).contains(&rows) || columns.iter().any(|column| column.len() != rows) {
        return Err(refuse(format!(
            "write the same number of rows, 1 to {ROWS_MAX}, in every column"
        )));
    }
    Ok(Background { columns, rows })
}
