//! The explanation that a row has, and whether another one is the same.

use super::Comparison;
use crate::archive::leaf::Value;
use crate::explain::reasons::rank;
use crate::package::Package;

/// How far each number may be from what another runtime gives, for each unit of the margin and at least for one.
const TOLERANCE: f64 = 1e-6;

/// An explanation as rows have it.
#[derive(Clone, PartialEq, Debug)]
pub struct Recorded {
    pub method: String,
    pub base: f64,
    pub residual: Option<f64>,
    pub evaluations: u32,
    /// Codes in order, `+` before what raises the risk and `-` before what lowers it, with a space between.
    pub reasons: String,
    /// By feature, in the package's order.
    pub contributions: Vec<f64>,
}

/// The reasons of a row as it is recorded.
pub fn codes(package: &Package, contributions: &[f64]) -> String {
    let groups = package.reasons.as_ref().map_or(&[][..], |r| &r.groups);
    let reasons = rank(groups, contributions);
    let code = |reason: &crate::explain::reasons::Reason| {
        let sign = if reason.raises() { '+' } else { '-' };
        format!("{sign}{}", reason.code(groups))
    };
    reasons.iter().map(code).collect::<Vec<_>>().join(" ")
}

impl Recorded {
    /// Reads what the columns of a row say. None if it was not explained when it was decided.
    ///
    /// # Errors
    /// When the columns are not those of an explanation.
    pub fn read(cells: &[(String, Value)], package: &Package) -> Result<Option<Recorded>, String> {
        let get = |name: &str| {
            let found = cells.iter().find(|(column, _)| column == name);
            found.map(|(_, value)| value)
        };
        let (None | Some(Value::Text(_) | Value::Null)) = get("explanation_method") else {
            return Err("its column explanation_method is no text".to_owned());
        };
        let Some(Value::Text(method)) = get("explanation_method") else {
            return Ok(None);
        };
        let wrong = |name: &str| format!("it is explained, and its column {name} says nothing");
        let number = |name: &str| match get(name) {
            Some(Value::F64(number)) => Ok(*number),
            _ => Err(wrong(name)),
        };
        let contributions = package.features.iter();
        Ok(Some(Recorded {
            method: method.clone(),
            base: number("explanation_base")?,
            residual: number("explanation_residual").ok(),
            evaluations: match get("explanation_evaluations") {
                Some(Value::Int(count)) => u32::try_from(*count).ok(),
                _ => None,
            }
            .ok_or_else(|| wrong("explanation_evaluations"))?,
            reasons: match get("explanation_reasons") {
                Some(Value::Text(reasons)) => reasons.clone(),
                _ => return Err(wrong("explanation_reasons")),
            },
            contributions: contributions
                .map(|feature| number(&format!("contribution_{}", feature.name)))
                .collect::<Result<_, _>>()?,
        }))
    }

    /// Base and contributions.
    pub fn sum(&self) -> f64 {
        let add = |sum, contribution: &f64| sum + contribution;
        self.contributions.iter().fold(self.base, add)
    }

    /// Whether `ours` is this explanation of a row with this margin: to the bit if `is_exact`, else within the
    /// tolerance.
    ///
    /// # Errors
    /// What differs, a sentence for each.
    pub fn compare(
        &self,
        ours: &Recorded,
        package: &Package,
        margin: f64,
        is_exact: bool,
    ) -> Result<Comparison, Vec<String>> {
        let allowed = TOLERANCE * margin.abs().max(1.0);
        let mut differences = Vec::new();
        let mut is_same = true;
        let mut number = |what: String, was: f64, is: f64| {
            let same = was.to_bits() == is.to_bits();
            is_same &= same;
            if !same && (is_exact || (was - is).abs() > allowed || (was - is).is_nan()) {
                differences.push(format!(
                    "the recorded explanation has {was:?} for {what}, and it is {is:?}"
                ));
            }
        };
        number("the base".to_owned(), self.base, ours.base);
        for (feature, spec) in package.features.iter().enumerate() {
            let [was, is] = [self, ours].map(|it| it.contributions[feature]);
            number(format!("the contribution of `{}`", spec.name), was, is);
        }
        if let (Some(was), Some(is)) = (self.residual, ours.residual) {
            number("the residual".to_owned(), was, is);
        }
        let mut word = |what: &str, was: &dyn ToString, is: &dyn ToString| {
            let (was, is) = (was.to_string(), is.to_string());
            if was != is {
                differences.push(format!(
                    "the recorded explanation has {was:?} for {what}, and it is {is:?}"
                ));
            }
        };
        word("the method", &self.method, &ours.method);
        word("the evaluations", &self.evaluations, &ours.evaluations);
        let has = |it: &Recorded| it.residual.is_some();
        word("having a residual", &has(self), &has(ours));
        // Of what was recorded: within the tolerance two groups may change places.
        let follow = codes(package, &self.contributions);
        word("the reasons", &self.reasons, &follow);
        match (differences.is_empty(), is_same) {
            (true, true) => Ok(Comparison::Same),
            (true, false) => Ok(Comparison::WithinTolerance),
            (false, _) => Err(differences),
        }
    }
}
