//! From texts to the numbers that a model was fitted on.
//!
//! A category is a text with a code. Promises that each text has one code, whatever the order in which they were
//! written, and that a text which is not listed has the code that is kept for such.

use std::collections::BTreeMap;

use arrow::array::{Float64Array, StringArray};

/// The codes of a feature's texts.
#[derive(Clone, PartialEq, Debug)]
pub struct Categories {
    /// By text, in rising order.
    codes: Vec<(String, f64)>,
    unknown: f64,
}

impl Categories {
    /// `unknown` stands for every text that has no code.
    #[must_use]
    pub fn new(codes: BTreeMap<String, f64>, unknown: f64) -> Categories {
        // There is one zero here too.
        let codes = codes.into_iter().map(|(text, code)| (text, code + 0.0));
        Categories {
            codes: codes.collect(),
            unknown: unknown + 0.0,
        }
    }

    /// The code of a text that is not listed.
    #[must_use]
    pub fn unknown(&self) -> f64 {
        self.unknown
    }

    /// The codes of the texts, in the order of the texts; the last one is that of all others.
    pub fn codes(&self) -> impl Iterator<Item = f64> + '_ {
        let listed = self.codes.iter().map(|(_, code)| *code);
        listed.chain([self.unknown])
    }

    fn code(&self, text: &str) -> f64 {
        let found = self
            .codes
            .binary_search_by(|(known, _)| known.as_str().cmp(text));
        found.map_or(self.unknown, |place| self.codes[place].1)
    }

    /// The code of each text. NULL stays NULL.
    pub(super) fn encode(&self, texts: &StringArray) -> Float64Array {
        let code = |text: Option<&str>| text.map(|text| self.code(text));
        texts.iter().map(code).collect()
    }
}
