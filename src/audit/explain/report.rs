//! What is said of an event: the contents of all three forms.

use serde::Serialize;

/// All occurrences of an event. Its JSON is described in `schemas/explanation.md`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// The archive's id.
    pub archive: String,
    /// As it was asked for.
    pub event: String,
    pub occurrences: Vec<Occurrence>,
}

/// One row of the archive.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Occurrence {
    /// `topic:partition:offset`.
    pub record: String,
    /// `scored`, `rejected` or `gap`.
    pub kind: String,
    pub event_id: Option<String>,
    /// As the event itself says.
    pub event_time: Option<String>,
    pub score_time: Option<String>,
    /// The checkpoint by which the row is proven. None: it is too young for one.
    pub proven: Option<Proven>,
    /// None if the row was not scored.
    pub decision: Option<Decided>,
    pub explanation: Option<Explanation>,
    /// Why there is no explanation.
    pub unexplained: Option<String>,
    /// What is not as it was recorded.
    pub findings: Vec<String>,
    /// The event's columns that are archived.
    pub event: Vec<Named>,
    /// The package would have to be another one for an explanation.
    #[serde(skip)]
    pub lacks_reasons: bool,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Proven {
    /// Entries that the checkpoint covers.
    pub entries: u64,
    pub root: String,
}

/// What was decided, and by what.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Decided {
    /// `approve`, `review` or `decline`.
    pub decision: String,
    pub score: f32,
    /// In log-odds; none where the package does not name that output.
    pub margin: Option<f32>,
    /// The bound that the score reached; none for what is approved, or decided by a rule.
    pub threshold: Option<f64>,
    /// The rule of the policy that made the decision stricter than the score asks for.
    pub rule: Option<Rule>,
    pub policy_version: String,
    pub policy_sha256: String,
    pub model_name: String,
    pub model_version: String,
    pub model_sha256: String,
    pub package_sha256: String,
    /// The inference library that decided, and its version.
    pub runtime: String,
    /// In what the runtime that explains differs from the one that decided. None: in nothing.
    pub runtime_differs: Option<String>,
    /// The score was repeated to the bit.
    pub score_repeated: bool,
}

/// A rule that decided.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Rule {
    pub name: String,
    /// The condition that the event met, as the policy has it.
    pub when: String,
    /// What the package says of it.
    pub description: Option<String>,
}

impl Rule {
    /// The condition for people: with a blank for each end of a line.
    pub(super) fn condition(&self) -> String {
        self.when.replace(char::is_control, " ")
    }
}

/// Why the margin is what it is: `base`, the contributions of all features and `residual` add up to it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Explanation {
    /// `tree-interventional`, `linear` or `permutation`.
    pub method: String,
    /// The method gives Shapley values and no approximation of them.
    pub exact: bool,
    /// Runs of the model for one explanation; 0 for exact methods.
    pub evaluations: u32,
    /// Rows of the background, with which the score is compared.
    pub background_rows: usize,
    /// The mean margin of the background.
    pub base: f64,
    /// The sum of base and contributions.
    pub sum: f64,
    /// What is missing to the recorded margin: the model adds in 32 bits. None where no margin is recorded.
    pub residual: Option<f64>,
    /// Of the texts.
    pub language: String,
    /// What was asked for, where the package has no texts in it.
    pub language_asked: Option<String>,
    pub reasons: Vec<Told>,
    /// The largest contribution first, of equal ones the first in the package.
    pub features: Vec<Part>,
    /// How the explanation that was recorded with the decision compares with this one.
    pub recorded: Comparison,
}

/// A reason in words, as scored records have it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Told {
    pub code: String,
    pub text: String,
    /// `raises` or `lowers`.
    pub direction: String,
    /// From 0 to 1, of all reasons.
    pub share: f64,
    pub contribution: f64,
}

/// What a feature was, and what it adds to the margin.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Part {
    pub feature: String,
    pub value: serde_json::Value,
    /// The value as texts show it.
    #[serde(skip)]
    pub shown: String,
    pub unit: Option<String>,
    pub description: Option<String>,
    /// The code of its group; none: it is in no group.
    pub reason: Option<String>,
    pub contribution: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// The row was not explained when it was decided, and was not to be.
    NotRecorded,
    /// The archived configuration asked for an explanation, and the row has none.
    DueNotRecorded,
    /// To the bit.
    Same,
    /// Within the tolerance that another runtime has.
    WithinTolerance,
    Differs,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Named {
    pub name: String,
    pub value: serde_json::Value,
    #[serde(skip)]
    pub shown: String,
}
