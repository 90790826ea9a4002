//! What the archived configuration said of explanations when a decision was made.

use crate::config::units;
use crate::explain::live::Rows;
use crate::record::{Decision, Offset};

/// What the tables of trees may take where the configuration does not say it.
const MEMORY_BYTES: usize = 256 << 20;

/// `[explain]`, as far as it is there.
pub struct Configured {
    /// How a forest is cut into tables depends on it, and with that the order of additions and the last bits.
    pub memory: usize,
    /// Of the texts in scored records; none: the package's own.
    pub language: Option<String>,
    /// None: it does not say.
    rows: Option<Rows>,
}

impl Configured {
    pub fn read(config: &str) -> Configured {
        let config: toml::Table = config.parse().unwrap_or_default();
        let value = |key: &str| config.get("explain").and_then(|table| table.get(key));
        let text = |key: &str| value(key).and_then(toml::Value::as_str);
        let one_in = value("one_in").and_then(toml::Value::as_integer);
        Configured {
            memory: text("memory")
                .and_then(|text| units::size(text).ok())
                .unwrap_or(MEMORY_BYTES),
            language: text("language")
                .filter(|language| !language.is_empty())
                .map(str::to_owned),
            rows: match text("rows") {
                Some("none") => Some(Rows::None),
                Some("all") => Some(Rows::All),
                Some("not_approved") => one_in
                    .and_then(|one_in| u64::try_from(one_in).ok())
                    .map(|one_in| Rows::NotApproved { one_in }),
                _ => None,
            },
        }
    }

    /// Whether the decision on this event was to be explained when it was made.
    pub fn is_due(&self, decision: &str, partition: i32, offset: Offset) -> bool {
        match (self.rows, Decision::parse(decision)) {
            (Some(rows), Some(decision)) => rows.hold(decision, partition, offset),
            _ => false,
        }
    }
}
