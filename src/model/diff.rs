//! `probity model diff`: what changes from one package to the next.
//!
//! Compares the two descriptions ([`super::description`]) value by value, so that what is added to packages is compared
//! as soon as it is described. Where the features are the same, the new model is run on the old package's golden rows.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use arrow::array::ArrayRef;
use serde::Serialize;
use serde_json::{Map, Value};

use super::description::Description;
use super::read;
use crate::audit::Output;
use crate::config::Config;
use crate::error::{Exit, Fatal, Result};
use crate::infer::{Model, Provider, Runtime};
use crate::package::{FeatureSpec, Package};
use crate::sink::Sink;

#[derive(Serialize)]
struct Report {
    old: String,
    new: String,
    same: bool,
    differences: Vec<Difference>,
    golden: Golden,
}

/// A value that is not the same. Without an old value it is new, without a new one it is gone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Difference {
    what: String,
    old: Option<String>,
    new: Option<String>,
}

/// What the new model makes of the old package's golden rows.
#[derive(PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Golden {
    NotCompared(String),
    Compared(Compared),
}

#[derive(PartialEq, Debug, Serialize)]
struct Compared {
    rows: usize,
    same_bits: usize,
    largest_difference: f32,
    /// By the two packages' own thresholds.
    decided_differently: usize,
    rejected: usize,
}

/// Compares the packages in two folders, and prints the report.
///
/// # Errors
/// [`Exit::CheckFailed`] when they differ; when one cannot be read, or the new model cannot be run.
pub fn run(config: &Config, old: &Path, new: &Path, output: Output, mut out: Sink) -> Result<()> {
    let max_bytes = config.explain.memory_bytes;
    let (old, new) = (read(config, old, "OLD")?, read(config, new, "NEW")?);
    let value = |package: &Package| -> Result<Value> {
        let description = Description::of(package, max_bytes)?;
        Ok(serde_json::to_value(description).expect("texts and numbers serialize"))
    };
    let mut differences = Vec::new();
    compare("", &value(&old)?, &value(&new)?, &mut differences);
    let (golden, missing) = match compare_golden(config, &old, &new) {
        Ok(golden) => (golden, None),
        // The rest of the report is worth having.
        Err(fatal) if fatal.exit == Exit::Unreachable => {
            (Golden::NotCompared(fatal.to_string()), Some(fatal))
        }
        Err(fatal) => return Err(fatal),
    };
    let report = Report {
        old: old.title(),
        new: new.title(),
        same: differences.is_empty(),
        differences,
        golden,
    };
    let text = match output {
        Output::Text => report.to_text(),
        Output::Json => serde_json::to_string_pretty(&report).expect("texts and numbers") + "\n",
    };
    out.write(text.as_bytes())?;
    out.finish()?;
    match missing {
        Some(fatal) => Err(fatal),
        None if report.same => Ok(()),
        None => Err(Fatal::new(Exit::CheckFailed, "the packages differ")),
    }
}

fn compare(what: &str, old: &Value, new: &Value, found: &mut Vec<Difference>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                let (old, new) = (old.get(key), new.get(key));
                let (old, new) = (old.unwrap_or(&Value::Null), new.unwrap_or(&Value::Null));
                compare(&below(what, key), old, new, found);
            }
        }
        (Value::Array(old_list), Value::Array(new_list)) => {
            match (named(old_list), named(new_list)) {
                (Some(old), Some(new)) => compare_named(what, &old, &new, found),
                _ if old_list != new_list && is_lines(old_list) && is_lines(new_list) => {
                    compare_lines(what, old_list, new_list, found);
                }
                _ => changed(what, old, new, found),
            }
        }
        _ => changed(what, old, new, found),
    }
}

fn below(what: &str, key: &str) -> String {
    match what {
        "" => key.to_owned(),
        what => format!("{what}.{key}"),
    }
}

fn changed(what: &str, old: &Value, new: &Value, found: &mut Vec<Difference>) {
    if old != new {
        found.push(Difference {
            what: what.to_owned(),
            old: text(old),
            new: text(new),
        });
    }
}

/// A value as people write it; nothing where there is none.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

type Named<'a> = Vec<(&'a str, &'a Map<String, Value>)>;

/// The items of a list in which each has a name of its own.
fn named(list: &[Value]) -> Option<Named<'_>> {
    list.iter().map(name_of).collect()
}

fn name_of(item: &Value) -> Option<(&str, &Map<String, Value>)> {
    let object = item.as_object()?;
    let name = object.get("name").or_else(|| object.get("code"))?;
    Some((name.as_str()?, object))
}

fn compare_named(what: &str, old: &Named<'_>, new: &Named<'_>, found: &mut Vec<Difference>) {
    let item = |list: &Named<'_>, name: &str| {
        let found = list.iter().find(|(known, _)| *known == name);
        found.map(|(_, object)| Value::Object((*object).clone()))
    };
    let names: BTreeSet<&str> = old.iter().chain(new).map(|(name, _)| *name).collect();
    for name in names {
        let what = below(what, name);
        match (item(old, name), item(new, name)) {
            (Some(old), Some(new)) => compare(&what, &old, &new, found),
            (old, new) => changed(
                &what,
                &old.unwrap_or(Value::Null),
                &new.unwrap_or(Value::Null),
                found,
            ),
        }
    }
    // Of what is in both.
    let order = |list: &Named<'_>, other: &Named<'_>| -> String {
        let names = list.iter().map(|(name, _)| *name);
        let common = names.filter(|name| other.iter().any(|(known, _)| known == name));
        common.collect::<Vec<_>>().join(", ")
    };
    let (old, new) = (order(old, new), order(new, old));
    changed(&below(what, "order"), &old.into(), &new.into(), found);
}

fn is_lines(list: &[Value]) -> bool {
    list.iter().all(Value::is_string)
}

/// Lines that are gone, then lines that are new; with neither, the order is another.
fn compare_lines(what: &str, old: &[Value], new: &[Value], found: &mut Vec<Difference>) {
    let before = found.len();
    for line in old.iter().filter(|line| !new.contains(line)) {
        changed(what, line, &Value::Null, found);
    }
    for line in new.iter().filter(|line| !old.contains(line)) {
        changed(what, &Value::Null, line, found);
    }
    if found.len() == before {
        let all = |lines: &[Value]| Value::Array(lines.to_vec());
        changed(&below(what, "order"), &all(old), &all(new), found);
    }
}

fn compare_golden(config: &Config, old: &Package, new: &Package) -> Result<Golden> {
    let not = |why: &str| Ok(Golden::NotCompared(why.to_owned()));
    if old.digest() == new.digest() {
        return not("the packages are the same");
    }
    let Some(golden) = &old.golden else {
        return not("the old package has no golden rows");
    };
    let Some(columns) = in_order_of(new, old, &golden.columns) else {
        return not("the features are not the same");
    };
    let runtime = Runtime::load(config.model.runtime.as_deref())?;
    let scored = Model::open(new, runtime, &[Provider::Cpu])?.run(&columns)?;
    let mut compared = Compared {
        rows: golden.score.len(),
        same_bits: 0,
        largest_difference: 0.0,
        decided_differently: 0,
        rejected: 0,
    };
    for (was, is) in golden.score.iter().zip(&scored.score) {
        if was.to_bits() == is.to_bits() {
            compared.same_bits += 1;
        }
        if !was.is_finite() || !is.is_finite() {
            compared.rejected += 1;
            continue;
        }
        compared.largest_difference = compared.largest_difference.max((was - is).abs());
        let (was, is) = (
            old.policy.by_thresholds(*was),
            new.policy.by_thresholds(*is),
        );
        compared.decided_differently += usize::from(was != is);
    }
    Ok(Golden::Compared(compared))
}

/// The old package's columns in the order of the new one, if both feed their models with the same.
fn in_order_of(new: &Package, old: &Package, columns: &[ArrayRef]) -> Option<Vec<ArrayRef>> {
    if old.features.len() != new.features.len() {
        return None;
    }
    let column = |spec: &FeatureSpec| {
        let place = old.features.iter().position(|other| {
            (&other.name, &other.sql, other.kind, other.impute)
                == (&spec.name, &spec.sql, spec.kind, spec.impute)
        })?;
        Some(columns[place].clone())
    };
    new.features.iter().map(column).collect()
}

impl Report {
    fn to_text(&self) -> String {
        let mut text = format!("old  {}\nnew  {}\n", self.old, self.new);
        if self.same {
            text += "nothing differs\n";
        }
        for Difference { what, old, new } in &self.differences {
            let _ = match (old, new) {
                (Some(old), Some(new)) => {
                    writeln!(text, "~ {what}\n    old  {old}\n    new  {new}")
                }
                (Some(old), None) => writeln!(text, "- {what}: {old}"),
                (None, new) => writeln!(text, "+ {what}: {}", new.as_deref().unwrap_or_default()),
            };
        }
        match &self.golden {
            Golden::NotCompared(why) => {
                let _ = writeln!(
                    text,
                    "golden rows of the old package are not compared: {why}"
                );
            }
            Golden::Compared(it) => {
                let _ = writeln!(
                    text,
                    "{} golden rows of the old package, by the new model: {} with the same bits, largest difference \
                     {}, {} decided differently by score, {} rejected",
                    it.rows,
                    it.same_bits,
                    it.largest_difference,
                    it.decided_differently,
                    it.rejected
                );
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(old: &Value, new: &Value) -> Vec<String> {
        let mut found = Vec::new();
        compare("", old, new, &mut found);
        let shown = |side: &Option<String>| side.clone().unwrap_or_else(|| "–".to_owned());
        let line =
            |it: &Difference| format!("{}: {} → {}", it.what, shown(&it.old), shown(&it.new));
        found.iter().map(line).collect()
    }

    #[test]
    fn nothing_differs_from_itself() {
        let value = json!({"a": 1, "lines": ["x", "x"], "features": [{"name": "f", "sql": "g"}]});
        assert!(found(&value, &value).is_empty());
    }

    #[test]
    fn items_are_compared_by_name_and_their_order_is_one_difference() {
        let old = json!({"features": [{"name": "a", "sql": "1"}, {"name": "b", "sql": "2"}, {"name": "c"}]});
        let new = json!({"features": [{"name": "b", "sql": "3"}, {"name": "a", "sql": "1"}, {"name": "d"}]});
        assert_eq!(
            found(&old, &new),
            [
                "features.b.sql: 2 → 3",
                "features.c: {\"name\":\"c\"} → –",
                "features.d: – → {\"name\":\"d\"}",
                "features.order: a, b → b, a",
            ]
        );
    }

    #[test]
    fn lines_that_came_and_went_are_told_one_by_one() {
        let text = |lines: &[&str]| json!({"policy": {"text": lines}});
        let old = text(&["version 1", "review 0.5", "decline 0.9"]);
        assert_eq!(
            found(
                &old,
                &text(&["version 1", "review 0.6", "decline 0.9", "rule x"])
            ),
            [
                "policy.text: review 0.5 → –",
                "policy.text: – → review 0.6",
                "policy.text: – → rule x"
            ]
        );
        let swapped = found(&old, &text(&["review 0.5", "version 1", "decline 0.9"]));
        assert_eq!(swapped.len(), 1);
        assert!(swapped[0].starts_with("policy.text.order"), "{swapped:?}");
    }
}
