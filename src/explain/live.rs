//! Explanations of a lane's decisions: which rows get one, and how it is written in scored records and in evidence.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{Array as _, ArrayRef, AsArray as _, StringBuilder};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type};

use super::reasons::{self, OTHER, Reason};
use super::{Attributions, Explainer, check};
use crate::error::{Fatal, Result};
use crate::infer::Model;
use crate::package::{Group, Package, Reasons};
use crate::record::{Decision, Offset};

/// About what the column of evidence has for one row; a guess that is too small costs a copy.
const ROW_BYTES: usize = 2048;

/// Which rows are explained.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rows {
    None,
    /// Those that are not approved, and one in so many of the others; 0: none of them.
    NotApproved {
        one_in: u64,
    },
    All,
}

impl Rows {
    /// Whether the event at this offset is explained, whatever else was decided with it.
    #[must_use]
    pub fn hold(self, decision: Decision, partition: i32, offset: Offset) -> bool {
        match self {
            Rows::None => false,
            Rows::All => true,
            Rows::NotApproved { .. } if decision != Decision::Approve => true,
            Rows::NotApproved { one_in: 0 } => false,
            Rows::NotApproved { one_in } => {
                let partition = u64::from(partition.cast_unsigned());
                mixed(offset.0.cast_unsigned() ^ partition << 48).is_multiple_of(one_in)
            }
        }
    }
}

/// The finaliser of SplitMix64: neighbours get numbers that have nothing in common.
fn mixed(number: u64) -> u64 {
    let mut number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// What explains the decisions of one package. Lanes share it.
#[derive(Clone)]
pub struct Narrator {
    shared: Arc<Shared>,
    rows: Rows,
}

struct Shared {
    /// None where no row is explained: its tables would be for nothing.
    explainer: Option<Explainer>,
    groups: Vec<Group>,
    language: String,
    /// What is said of what is in no listed group.
    other: String,
    /// `"name":` of each feature, as the column of evidence has it.
    keys: Vec<String>,
    /// As logs name the package.
    title: String,
    /// The log says once that something is wrong; the metrics say how often.
    has_warned: AtomicBool,
}

/// What is said of the rows of a batch.
#[derive(Default)]
pub struct Explanations {
    /// Of each row, its index in the attributions.
    places: Vec<Option<u32>>,
    attributions: Option<Attributions>,
    reasons: Vec<Vec<Reason>>,
    residuals: Vec<Option<f64>>,
    unexplained: usize,
    inexact: usize,
}

impl Narrator {
    /// Of a package that says how to explain, in its own language or another one that it has.
    ///
    /// # Errors
    /// When the package cannot be explained, or has no texts in that language. None for a package without reasons.
    pub fn open(
        package: &Package,
        model: &mut Model,
        rows: Rows,
        language: Option<&str>,
        max_bytes: usize,
    ) -> Result<Option<Narrator>> {
        let explainer = Explainer::open(package, model, max_bytes)?;
        Narrator::of(package, explainer, rows, language)
    }

    /// As [`Narrator::open`], where no row will be explained: whether the package can be is not looked at.
    ///
    /// # Errors
    /// When the package has no texts in that language.
    pub fn silent(package: &Package, language: Option<&str>) -> Result<Option<Narrator>> {
        Narrator::of(package, None, Rows::None, language)
    }

    fn of(
        package: &Package,
        explainer: Option<Explainer>,
        rows: Rows,
        language: Option<&str>,
    ) -> Result<Option<Narrator>> {
        let Some(reasons) = &package.reasons else {
            return Ok(None);
        };
        let asked = language.unwrap_or(&reasons.language);
        // A start is refused rather than surprised: whoever reads the records has chosen the language.
        let Some(language) = reasons.spoken(asked) else {
            return Err(Fatal::usage(format!(
                "explain.language: the package {} has no texts in {asked:?}; write one of {}",
                package.title(),
                reasons.languages()
            )));
        };
        Ok(Some(Narrator {
            shared: Arc::new(Shared {
                explainer,
                groups: reasons.groups.clone(),
                language: language.to_owned(),
                other: other(reasons, language),
                keys: package
                    .features
                    .iter()
                    .map(|f| format!("\"{}\":", f.name))
                    .collect(),
                title: package.title(),
                has_warned: AtomicBool::new(false),
            }),
            rows,
        }))
    }

    #[must_use]
    pub fn rows(&self) -> Rows {
        self.rows
    }

    /// None: no row is explained.
    #[must_use]
    pub fn explainer(&self) -> Option<&Explainer> {
        self.shared.explainer.as_ref()
    }

    /// Explains the rows with these numbers, of as many as `margins` and each column have.
    ///
    /// # Errors
    /// If the model no longer runs.
    pub fn explain(
        &self,
        model: &mut Model,
        features: &[ArrayRef],
        margins: Option<&[f32]>,
        rows: &[usize],
    ) -> Result<Explanations> {
        let count = features.first().map_or(0, |column| column.len());
        let mut places = vec![None; count];
        let Some(explainer) = self.explainer().filter(|_| !rows.is_empty()) else {
            return Ok(Explanations {
                places,
                ..Explanations::default()
            });
        };
        let attributions = explainer.explain(model, features, margins, rows)?;
        let mut reasons = Vec::with_capacity(attributions.rows.len());
        let mut residuals = Vec::with_capacity(attributions.rows.len());
        let mut inexact = 0;
        for (at, row) in attributions.rows.iter().enumerate() {
            places[*row] = Some(u32::try_from(at).expect("a batch has few rows"));
            reasons.push(reasons::rank(&self.shared.groups, &attributions.of(at)));
            let margin = margins.map(|margins| f64::from(margins[*row]));
            let sum = attributions.sum(at);
            residuals.push(margin.map(|margin| margin - sum));
            let adds_up = margin.is_none_or(|margin| check::adds_up(sum, margin));
            inexact += usize::from(!adds_up);
        }
        let unexplained = rows.len() - attributions.rows.len();
        self.warn(unexplained, inexact);
        Ok(Explanations {
            places,
            attributions: Some(attributions),
            reasons,
            residuals,
            unexplained,
            inexact,
        })
    }

    /// Nothing of the events is said: a log is read by others than evidence.
    fn warn(&self, unexplained: usize, inexact: usize) {
        let shared = &self.shared;
        if unexplained + inexact > 0 && !shared.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                package = %shared.title,
                unexplained,
                inexact,
                "decisions have no explanation, or one that does not add up to the margin; said once for a package, \
                 see probity_unexplained_total and probity_inexact_explanations_total"
            );
        }
    }

    /// Appends what the scored record says of a row, as JSON, if it is explained.
    pub fn write_reasons(
        &self,
        out: &mut Vec<u8>,
        explanations: &Explanations,
        features: &[ArrayRef],
        row: usize,
    ) -> bool {
        let Some((at, attributions)) = explanations.of(row) else {
            return false;
        };
        self.write_head(out, attributions, explanations.residuals[at]);
        out.extend_from_slice(b",\"reasons\":[");
        for (index, reason) in explanations.reasons[at].iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let code = reason.code(&self.shared.groups);
            put(out, format_args!("{comma}{{\"code\":\"{code}\",\"text\":"));
            json(out, &self.text(reason, features, row));
            put(
                out,
                format_args!(",\"direction\":\"{}\",\"share\":", reason.direction()),
            );
            json(out, &reason.share);
            out.extend_from_slice(b",\"contribution\":");
            json(out, &reason.contribution);
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
        true
    }

    /// The column of evidence: null for rows that are not explained.
    #[must_use]
    pub fn column(&self, explanations: &Explanations, empty: impl Fn(usize) -> bool) -> ArrayRef {
        let rows = explanations.places.len();
        let mut column = StringBuilder::with_capacity(rows, explanations.count() * ROW_BYTES);
        let mut bytes = Vec::with_capacity(ROW_BYTES);
        for (row, place) in explanations.places.iter().enumerate() {
            if place.is_none() || empty(row) {
                column.append_null();
                continue;
            }
            bytes.clear();
            self.write_contributions(&mut bytes, explanations, row);
            column.append_value(str::from_utf8(&bytes).expect("JSON is UTF-8"));
        }
        Arc::new(column.finish())
    }

    fn write_contributions(&self, out: &mut Vec<u8>, explanations: &Explanations, row: usize) {
        let (at, attributions) = explanations.of(row).expect("the row is explained");
        self.write_head(out, attributions, explanations.residuals[at]);
        out.extend_from_slice(b",\"contributions\":{");
        for (feature, key) in self.shared.keys.iter().enumerate() {
            if feature > 0 {
                out.push(b',');
            }
            out.extend_from_slice(key.as_bytes());
            json(out, &attributions.contributions[feature][at]);
        }
        out.extend_from_slice(b"},\"reasons\":[");
        for (index, reason) in explanations.reasons[at].iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let sign = if reason.raises() { '+' } else { '-' };
            let code = reason.code(&self.shared.groups);
            put(out, format_args!("{comma}\"{sign}{code}\""));
        }
        out.extend_from_slice(b"]}");
    }

    fn write_head(&self, out: &mut Vec<u8>, attributions: &Attributions, residual: Option<f64>) {
        let explainer = self.explainer().expect("it has explained the row");
        put(
            out,
            format_args!("{{\"method\":\"{}\",\"base\":", explainer.method()),
        );
        json(out, &attributions.base);
        out.extend_from_slice(b",\"residual\":");
        json(out, &residual);
        put(
            out,
            format_args!(",\"evaluations\":{}", explainer.evaluations()),
        );
    }

    fn text(&self, reason: &Reason, features: &[ArrayRef], row: usize) -> String {
        let language = &self.shared.language;
        let Some(group) = reason.group else {
            return self.shared.other.clone();
        };
        let group = &self.shared.groups[group];
        let texts = if reason.raises() {
            &group.raises
        } else {
            &group.lowers
        };
        texts[language].render(|feature| shown(&features[feature], row))
    }
}

/// What stands for all features that are in no listed group: the package's words for it, or ours, or its code.
#[must_use]
pub fn other(reasons: &Reasons, language: &str) -> String {
    let ours = match language.split('-').next() {
        Some("en") => "Other features",
        Some("de") => "Andere Merkmale",
        _ => OTHER,
    };
    match reasons.other.get(language) {
        Some(text) => text.render(|_| unreachable!("it names no feature")),
        None => ours.to_owned(),
    }
}

/// What is shown of a value that is not there.
pub const NOTHING: &str = "–";

/// A feature's value for people: the shortest decimal that reads back to it, or a dash where there is none.
#[must_use]
pub fn shown(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return NOTHING.to_owned();
    }
    match column.data_type() {
        DataType::Float32 => match column.as_primitive::<Float32Type>().value(row) {
            value if value.is_nan() => NOTHING.to_owned(),
            value => value.to_string(),
        },
        DataType::Float64 => match column.as_primitive::<Float64Type>().value(row) {
            value if value.is_nan() => NOTHING.to_owned(),
            value => value.to_string(),
        },
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        other => unreachable!("no feature is {other}"),
    }
}

impl Explanations {
    fn of(&self, row: usize) -> Option<(usize, &Attributions)> {
        let at = (*self.places.get(row)?)?;
        Some((at as usize, self.attributions.as_ref()?))
    }

    /// How many rows are explained.
    #[must_use]
    pub fn count(&self) -> usize {
        self.reasons.len()
    }

    /// How many rows were to be explained, and are not: the model could not be run around them.
    #[must_use]
    pub fn unexplained(&self) -> usize {
        self.unexplained
    }

    /// How many rows are explained, and the explanation does not add up to what the model said.
    #[must_use]
    pub fn inexact(&self) -> usize {
        self.inexact
    }
}

fn put(out: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments).expect("memory takes every byte");
}

/// Floats are the shortest decimals that read back to the same bits.
fn json<T: serde::Serialize>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("memory takes every byte");
}
