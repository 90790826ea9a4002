//! What a package says about explaining: the method, the rows that a score is compared with, and groups of
//! features with words for people. `manifest/reasons.rs` reads it.

use std::collections::BTreeMap;

use arrow::array::ArrayRef;

use super::Template;

/// How scores of this model are explained, and in which words.
#[derive(Clone, Debug)]
pub struct Reasons {
    pub method: Method,
    pub background: Background,
    /// Antithetic pairs of permutations for each row of the background, 1 to 100; 0 for an exact method.
    pub permutations: usize,
    /// The language of texts where nobody asks for another. Every group has it.
    pub language: String,
    /// In the package's order, which is how ties are broken. Never empty.
    pub groups: Vec<Group>,
    /// By language: what is said of everything that is in no listed group. May lack any.
    pub other: BTreeMap<String, Template>,
}

impl Reasons {
    /// The language of the texts for somebody who asks for this one: itself, or what is left of it without its last
    /// parts, as `de` for `de-AT`.
    #[must_use]
    pub fn spoken(&self, asked: &str) -> Option<&str> {
        let known = &self.groups[0].raises;
        let mut tag = asked;
        loop {
            if let Some((language, _)) = known.get_key_value(tag) {
                return Some(language);
            }
            tag = tag.rsplit_once('-')?.0;
        }
    }

    /// All languages that the texts are in.
    #[must_use]
    pub fn languages(&self) -> String {
        let languages = self.groups[0].raises.keys().map(String::as_str);
        languages.collect::<Vec<_>>().join(", ")
    }
}

/// How the contributions of the features are calculated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// Exact, from the trees.
    Tree,
    /// Exact, from the coefficients.
    Linear,
    /// Approximate, by running the model on permuted rows.
    Permutation,
}

impl Method {
    pub const ALL: [Method; 3] = [Method::Tree, Method::Linear, Method::Permutation];

    /// As it is written in `model.toml`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Tree => "tree",
            Method::Linear => "linear",
            Method::Permutation => "permutation",
        }
    }
}

/// The rows that a score is compared with.
#[derive(Clone, Debug)]
pub struct Background {
    /// In the order of the package's features, each `rows` long.
    pub columns: Vec<ArrayRef>,
    /// 1 to 200.
    pub rows: usize,
}

/// Features that are one reason for a person.
#[derive(Clone, PartialEq, Debug)]
pub struct Group {
    pub code: String,
    /// Indices into the package's features, as they are written; never empty. A feature is in at most one group.
    pub features: Vec<usize>,
    /// By language: what is said when the group raises the risk, and when it lowers it. All groups have the
    /// same languages in both.
    pub raises: BTreeMap<String, Template>,
    pub lowers: BTreeMap<String, Template>,
}
