//! Where a setting comes from: defaults < file < environment < `--set`, flattened to dotted keys.
//!
//! Does not know which keys exist. `[batch] max_rows = 1`, `batch.max_rows = 1`,
//! `PROBITY__BATCH__MAX_ROWS=1` and `--set batch.max_rows=1` all become the key `batch.max_rows`,
//! each with its origin, so that every complaint can name the place to mend. Names of librdkafka
//! properties hold dots themselves, which the flattening makes harmless.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::error::Fatal;

/// Environment variables by name, as far as they are Unicode.
pub type Environment = BTreeMap<String, String>;

/// The environment of this process. Variables that are not Unicode are none of ours.
#[must_use]
pub fn environment() -> Environment {
    let unicode = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(unicode).collect()
}

/// What stands before the key in the name of an environment variable.
const ENVIRONMENT_PREFIX: &str = "PROBITY__";

/// What stands before all names that are ours, keys or not.
const PROGRAM_PREFIX: &str = "PROBITY_";

/// The variable that sets a key.
pub(super) fn variable_of(key: &str) -> String {
    let name = match key.split_once('.') {
        Some((section @ "kafka", property)) => format!("{section}__{}", property.replace('.', "_")),
        _ => key.replace('.', "__"),
    };
    format!("{ENVIRONMENT_PREFIX}{}", name.to_uppercase())
}

/// As it is written by who takes every separator for one underscore: `batch_max_rows`.
pub(super) fn flat(name: &str) -> String {
    let name = name.strip_prefix(PROGRAM_PREFIX).unwrap_or(name);
    name.to_lowercase().replace('.', "_").replace("__", "_")
}

/// The place where a setting was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    Default,
    File {
        path: String,
        line: usize,
    },
    Environment {
        variable: String,
    },
    Set,
    /// Of a command, which has its own name for the key.
    Argument(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{path}:{line}"),
            Origin::Environment { variable } => write!(f, "environment variable {variable}"),
            Origin::Set => f.write_str("--set"),
            Origin::Argument(name) => f.write_str(name),
        }
    }
}

/// A value before anybody knows which type its key has. No `Debug`: it may be a secret.
#[derive(Clone)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    /// As it was written.
    Float(String),
    Boolean(bool),
    List(Vec<String>),
    /// From the environment or `--set`, where everything is text.
    Untyped(String),
}

#[derive(Clone)]
pub(super) struct Setting {
    pub value: Value,
    pub origin: Origin,
}

/// One thing that is wrong, in one sentence: where, which key, what, and what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Problem {
    pub origin: Origin,
    /// Begins with the dotted key, where there is one.
    pub sentence: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.sentence)
    }
}

/// All problems as one error, those of the file first, in its order.
pub(super) fn refusal(mut problems: Vec<Problem>) -> Fatal {
    problems.sort_by_key(|problem| match problem.origin {
        Origin::File { line, .. } => (0, line),
        Origin::Default => (1, 0),
        Origin::Environment { .. } => (2, 0),
        Origin::Set | Origin::Argument(_) => (3, 0),
    });
    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    Fatal::usage(match lines.as_slice() {
        [line] => line.clone(),
        lines => format!(
            "the configuration has {} errors\n{}",
            lines.len(),
            lines.join("\n")
        ),
    })
}

/// Every setting by dotted key, and the tables of the file, which may be empty and misspelt.
#[derive(Default)]
pub(super) struct Layers {
    pub settings: BTreeMap<String, Setting>,
    pub sections: Vec<(String, Origin)>,
    /// Variables whose names begin like ours and do not go on so. Most are of tests, or of others.
    pub strays: Vec<String>,
    pub problems: Vec<Problem>,
}

impl Layers {
    /// Reads `path` and lays `environment` and `sets` over it.
    ///
    /// # Errors
    /// The file cannot be read, or is not TOML: then nobody knows which keys it meant. What else is
    /// wrong inside it is in `problems`.
    pub fn read(
        path: Option<&Path>,
        environment: &Environment,
        sets: &[String],
    ) -> Result<Layers, Fatal> {
        let mut layers = Layers::default();
        if let Some(path) = path {
            let text = std::fs::read_to_string(path).map_err(|error| {
                let path = path.display();
                Fatal::usage(format!(
                    "cannot read the configuration {path}; name it with --config"
                ))
                .because(error)
            })?;
            let syntax = layers.add_file(&path.display().to_string(), &text);
            if !syntax.is_empty() {
                return Err(refusal(syntax));
            }
        }
        layers.add_environment(environment);
        layers.add_sets(sets);
        Ok(layers)
    }

    /// Returns all that is wrong with the syntax.
    fn add_file(&mut self, path: &str, text: &str) -> Vec<Problem> {
        let at = |span: Option<std::ops::Range<usize>>| {
            let end = span.map_or(0, |span| span.start);
            let line = 1 + text.bytes().take(end).filter(|byte| *byte == b'\n').count();
            Origin::File {
                path: path.to_owned(),
                line,
            }
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        self.add_table("", table.get_ref(), &|span| at(Some(span)));
        let problem = |error: toml::de::Error| {
            // Only the message: the error's own display repeats the line, which may hold a secret.
            let sentence = format!("is not TOML: {}; mend the line", error.message());
            Problem {
                origin: at(error.span()),
                sentence,
            }
        };
        errors.into_iter().map(problem).collect()
    }

    fn add_table(
        &mut self,
        prefix: &str,
        table: &DeTable<'_>,
        at: &dyn Fn(std::ops::Range<usize>) -> Origin,
    ) {
        for (name, value) in table {
            let key = format!("{prefix}{}", name.get_ref());
            let origin = at(name.span());
            if let DeValue::Table(inner) = value.get_ref() {
                self.sections.push((key.clone(), origin));
                self.add_table(&format!("{key}."), inner, at);
                continue;
            }
            match typed(value.get_ref()) {
                Ok(_) if self.settings.contains_key(&key) => {
                    self.problem(origin, format!("{key} is set twice; remove one of the two"));
                }
                Ok(value) => {
                    self.settings.insert(key, Setting { value, origin });
                }
                Err(what) => self.problem(origin, format!("{key} {what}")),
            }
        }
    }

    fn add_environment(&mut self, environment: &Environment) {
        for (variable, text) in environment {
            let Some(name) = variable.strip_prefix(ENVIRONMENT_PREFIX) else {
                if variable.starts_with(PROGRAM_PREFIX) {
                    self.strays.push(variable.clone());
                }
                continue;
            };
            let key = environment_key(name);
            let origin = Origin::Environment {
                variable: variable.clone(),
            };
            self.settings.insert(
                key,
                Setting {
                    value: Value::Untyped(text.clone()),
                    origin,
                },
            );
        }
    }

    fn add_sets(&mut self, sets: &[String]) {
        for set in sets {
            match set.split_once('=') {
                Some((key, text)) if !key.trim().is_empty() => {
                    let value = Value::Untyped(text.trim().to_owned());
                    let setting = Setting {
                        value,
                        origin: Origin::Set,
                    };
                    self.settings.insert(key.trim().to_owned(), setting);
                }
                // Without a key nobody knows whether the text is a secret: it is not repeated.
                _ => self.problem(
                    Origin::Set,
                    "takes KEY=VALUE, like --set batch.max_rows=1024".to_owned(),
                ),
            }
        }
    }

    fn problem(&mut self, origin: Origin, sentence: String) {
        self.problems.push(Problem { origin, sentence });
    }
}

/// `BATCH__MAX_ROWS` is `batch.max_rows`. A librdkafka property has dots where a variable can
/// have none, and no underscores: `KAFKA__SASL_PASSWORD` is `kafka.sasl.password`.
fn environment_key(name: &str) -> String {
    let key = name.to_lowercase().replace("__", ".");
    if key.starts_with("kafka.") {
        key.replace('_', ".")
    } else {
        key
    }
}

/// # Errors
/// The rest of a sentence that begins with the key.
fn typed(value: &DeValue<'_>) -> Result<Value, String> {
    Ok(match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Float(float) => Value::Float(float.as_str().to_owned()),
        DeValue::Integer(integer) => {
            let parsed = i64::from_str_radix(integer.as_str(), integer.radix());
            Value::Integer(parsed.map_err(|_| "is a number of more than 64 bits; lower it")?)
        }
        DeValue::Array(items) => {
            let texts = items
                .iter()
                .map(|item| item.get_ref().as_str().map(str::to_owned));
            let texts: Option<Vec<_>> = texts.collect();
            Value::List(texts.ok_or("may only list texts; write [\"a\", \"b\"]")?)
        }
        DeValue::Datetime(_) => return Err("is a date; write text in quotes".to_owned()),
        DeValue::Table(_) => return Err("is a table; write one value".to_owned()),
    })
}

impl Value {
    /// # Errors
    /// The rest of a sentence that begins with the key; as with the others below.
    pub fn text(&self) -> Result<String, String> {
        match self {
            Value::Text(text) | Value::Untyped(text) => Ok(text.clone()),
            other => Err(format!("is {}; write text in quotes", other.kind())),
        }
    }

    pub fn integer(&self) -> Result<i64, String> {
        match self {
            Value::Integer(integer) => Ok(*integer),
            Value::Untyped(text) => text
                .parse()
                .map_err(|_| format!("is {text:?}; write a whole number")),
            other => Err(format!("is {}; write a whole number", other.kind())),
        }
    }

    pub fn decimal(&self) -> Result<f64, String> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|_| format!("is {text:?}; write a number"))
        };
        match self {
            Value::Integer(integer) => parse(&integer.to_string()),
            // TOML allows underscores between digits.
            Value::Float(text) => parse(&text.replace('_', "")),
            Value::Untyped(text) => parse(text),
            other => Err(format!("is {}; write a number", other.kind())),
        }
    }

    pub fn boolean(&self) -> Result<bool, String> {
        match self {
            Value::Boolean(value) => Ok(*value),
            Value::Untyped(text) => text
                .parse()
                .map_err(|_| format!("is {text:?}; write true or false")),
            other => Err(format!("is {}; write true or false", other.kind())),
        }
    }

    /// In the environment and `--set` a list is written `a,b`.
    pub fn list(&self) -> Result<Vec<String>, String> {
        match self {
            Value::List(list) => Ok(list.clone()),
            Value::Untyped(text) if text.is_empty() => Ok(Vec::new()),
            Value::Untyped(text) => {
                Ok(text.split(',').map(|item| item.trim().to_owned()).collect())
            }
            other => Err(format!(
                "is {}; write a list like [\"a\", \"b\"]",
                other.kind()
            )),
        }
    }

    /// A number with a unit. A bare number is passed on, to be refused for having none.
    pub fn quantity(&self) -> Result<String, String> {
        match self {
            Value::Integer(integer) => Ok(integer.to_string()),
            Value::Float(text) => Ok(text.clone()),
            other => other.text(),
        }
    }

    /// What librdkafka takes, which reads everything from text.
    pub fn property(&self) -> Result<String, String> {
        match self {
            Value::Text(text) | Value::Untyped(text) | Value::Float(text) => Ok(text.clone()),
            Value::Integer(integer) => Ok(integer.to_string()),
            Value::Boolean(value) => Ok(value.to_string()),
            Value::List(_) => Err("is a list; write text in quotes, items joined by commas".into()),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) | Value::Untyped(_) => "text",
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a number with a fraction",
            Value::Boolean(_) => "true or false",
            Value::List(_) => "a list",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(text: &str) -> Layers {
        let mut layers = Layers::default();
        assert_eq!(layers.add_file("a.toml", text), []);
        layers
    }

    #[test]
    fn one_key_however_it_is_written() {
        for text in [
            "[kafka.consumer]\n\"fetch.min.bytes\" = 5",
            "[kafka.consumer]\nfetch.min.bytes = 5",
            "kafka.consumer.fetch.min.bytes = 5",
            "kafka = { consumer = { \"fetch.min.bytes\" = 5 } }",
        ] {
            let layers = layers(text);
            assert!(layers.problems.is_empty());
            assert_eq!(
                layers.settings.keys().collect::<Vec<_>>(),
                ["kafka.consumer.fetch.min.bytes"]
            );
        }
        assert_eq!(
            environment_key("KAFKA__CONSUMER__FETCH_MIN_BYTES"),
            "kafka.consumer.fetch.min.bytes"
        );
        assert_eq!(environment_key("BATCH__MAX_ROWS"), "batch.max_rows");
    }

    #[test]
    fn the_last_layer_wins() {
        let mut layers = layers("[log]\nlevel = \"info\"");
        let origin = |layers: &Layers| layers.settings["log.level"].origin.to_string();
        assert_eq!(origin(&layers), "a.toml:2");
        layers.add_environment(&[("PROBITY__LOG__LEVEL".into(), "warn".into())].into());
        assert_eq!(origin(&layers), "environment variable PROBITY__LOG__LEVEL");
        layers.add_sets(&["log.level=debug".into()]);
        assert_eq!(origin(&layers), "--set");
        assert_eq!(
            layers.settings["log.level"].value.text(),
            Ok("debug".to_owned())
        );
    }

    #[test]
    fn every_syntax_error_is_reported_and_no_line_is_repeated() {
        let text = "[kafka]\nsasl.password = hunter2\nname = \"x\nlanes = 1 1\n";
        let problems = Layers::default().add_file("a.toml", text);
        let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert!(texts.len() >= 2, "{texts:?}");
        assert!(texts[0].starts_with("a.toml:2: is not TOML: "), "{texts:?}");
        assert!(
            texts.iter().all(|text| !text.contains("hunter2")),
            "{texts:?}"
        );
    }

    #[test]
    fn what_has_no_key_or_no_type_is_refused() {
        let mut layers = layers("a = 1979-05-27\nb = [1]\n\"c.d\" = 1\n[c]\nd = 2\n");
        layers.add_sets(&["hunter2".into(), "=hunter2".into()]);
        let texts: Vec<_> = layers.problems.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 5);
        assert_eq!(texts[0], "a.toml:1: a is a date; write text in quotes");
        assert_eq!(
            texts[1],
            "a.toml:2: b may only list texts; write [\"a\", \"b\"]"
        );
        assert!(
            texts[2].ends_with("c.d is set twice; remove one of the two"),
            "{texts:?}"
        );
        assert_eq!(
            texts[3],
            "--set: takes KEY=VALUE, like --set batch.max_rows=1024"
        );
        assert!(texts.iter().all(|text| !text.contains("hunter2")));
    }
}
