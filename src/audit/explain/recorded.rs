//! The explanation that a row has, and whether another one is the same.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::Comparison;
use crate::archive::leaf::Value;
use crate::evidence::columns::EXPLANATION;
use crate::explain::reasons::rank;
use crate::package::Package;

/// How far each number may be from what another runtime gives, for each unit of the largest number that it was
/// calculated from, and at least for one.
const TOLERANCE: f64 = 1e-6;
/// The same where a device decided, whose margins are admitted so far from the golden ones (`infer/probe.rs`).
const TOLERANCE_ON_DEVICE: f64 = 1e-5;

/// How far an explanation may be from the recorded one.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Allowed {
    /// It is the same to the bit.
    Nothing,
    /// It was calculated by another runtime. The margins of which contributions are differences may be larger than
    /// what they add up to.
    Relative { on_device: bool, largest: f64 },
}

impl Allowed {
    /// For these numbers, calculated here: what was recorded has no part in how far it may be off.
    fn of(self, ours: &Recorded) -> Option<f64> {
        let Allowed::Relative { on_device, largest } = self else {
            return None;
        };
        let numbers = ours.contributions.iter().chain([&ours.base]);
        let largest = numbers.fold(largest.max(1.0), |most, number| most.max(number.abs()));
        let unit = if on_device {
            TOLERANCE_ON_DEVICE
        } else {
            TOLERANCE
        };
        Some(unit * largest)
    }
}

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

/// The column as it is written. Numbers stay as their digits until the standard library reads them: that is exact, and
/// they are compared to the bit.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<'a> {
    method: String,
    #[serde(borrow)]
    base: &'a RawValue,
    #[serde(borrow)]
    residual: Option<&'a RawValue>,
    evaluations: u32,
    #[serde(borrow)]
    contributions: Contributions<'a>,
    reasons: Vec<String>,
}

/// By feature, each once: of two, nobody could say which one was told.
struct Contributions<'a>(BTreeMap<String, &'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Contributions<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Once;

        impl<'de> Visitor<'de> for Once {
            type Value = BTreeMap<String, &'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of numbers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all = BTreeMap::new();
                while let Some((name, raw)) = map.next_entry()? {
                    if all.insert(name, raw).is_some() {
                        return Err(A::Error::custom("a name stands twice"));
                    }
                }
                Ok(all)
            }
        }

        from.deserialize_map(Once).map(Contributions)
    }
}

fn number(name: &str, raw: &RawValue) -> Result<f64, String> {
    let parsed = raw.get().parse();
    parsed.map_err(|_| format!("its column `explanation` has no number for `{name}`"))
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
    /// Reads what a row says (`schemas/evidence.md`). None if it was not explained when it was decided.
    ///
    /// # Errors
    /// When what it says is no explanation by this package.
    pub fn read(cells: &[(String, Value)], package: &Package) -> Result<Option<Recorded>, String> {
        let text = match cells.iter().find(|(column, _)| column == EXPLANATION) {
            None | Some((_, Value::Null)) => return Ok(None),
            Some((_, Value::Text(text))) => text,
            Some(_) => return Err("its column `explanation` is no text".to_owned()),
        };
        let written: Written<'_> = serde_json::from_str(text).map_err(|error| {
            let column = error.column();
            format!("its column `explanation` is no explanation, from its byte {column} on")
        })?;
        if written.contributions.0.len() != package.features.len() {
            return Err("its column `explanation` is of other features".to_owned());
        }
        let contribution = |name: &str| match written.contributions.0.get(name) {
            Some(raw) => number(name, raw),
            None => Err(format!("its column `explanation` lacks `{name}`")),
        };
        let contributions = package.features.iter().map(|f| contribution(&f.name));
        Ok(Some(Recorded {
            base: number("base", written.base)?,
            residual: match written.residual {
                Some(raw) => Some(number("residual", raw)?),
                None => None,
            },
            contributions: contributions.collect::<Result<_, _>>()?,
            method: written.method,
            evaluations: written.evaluations,
            reasons: written.reasons.join(" "),
        }))
    }

    /// Base and contributions.
    pub fn sum(&self) -> f64 {
        let add = |sum, contribution: &f64| sum + contribution;
        self.contributions.iter().fold(self.base, add)
    }

    /// Whether `ours` is this explanation, as far as is allowed.
    ///
    /// # Errors
    /// What differs, a sentence for each.
    pub fn compare(
        &self,
        ours: &Recorded,
        package: &Package,
        allowed: Allowed,
    ) -> Result<Comparison, Vec<String>> {
        let allowed = allowed.of(ours);
        let mut differences = Vec::new();
        let mut is_same = true;
        let mut number = |what: String, was: f64, is: f64| {
            let same = was.to_bits() == is.to_bits();
            is_same &= same;
            let is_near = |allowed: f64| (was - is).abs() <= allowed;
            if !same && !allowed.is_some_and(is_near) {
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
