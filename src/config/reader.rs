//! Takes settings out of the layers, one typed key after the other, and remembers what it took.
//!
//! Reading a key is the only way to declare it: its name, its default and its limits stand in the
//! one call. What was read makes the effective configuration; what nobody read is unknown, and gets
//! the nearest known key as a suggestion. A wrong value yields the default and a problem, so that
//! one start shows every mistake.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::kafka;
use super::layers::{Layers, Origin, Problem, Value, flat, refusal, variable_of};
use super::units;
use crate::error::Fatal;

/// Stands in the effective configuration for what must not be shown.
pub(super) const REDACTED: &str = "[redacted]";

pub(super) struct Reader {
    layers: Layers,
    /// What relative paths of the file start from.
    folder: PathBuf,
    known: Vec<String>,
    shown: Shown,
}

/// The effective configuration as TOML, in the order in which it was read.
#[derive(Default)]
struct Shown(Vec<(String, Vec<String>)>);

impl Shown {
    fn add(&mut self, section: &str, line: String) {
        match self.0.iter_mut().find(|(name, _)| name == section) {
            Some((_, lines)) => lines.push(line),
            None => self.0.push((section.to_owned(), vec![line])),
        }
    }

    fn text(&self) -> String {
        let section =
            |(name, lines): &(String, Vec<String>)| format!("[{name}]\n{}\n", lines.join("\n"));
        self.0.iter().map(section).collect::<Vec<_>>().join("\n")
    }
}

impl Reader {
    pub fn new(layers: Layers, folder: &Path) -> Reader {
        let folder = folder.to_owned();
        Reader {
            layers,
            folder,
            known: Vec::new(),
            shown: Shown::default(),
        }
    }

    pub fn text(&mut self, key: &str, default: &str) -> String {
        self.take(key, default.to_owned(), Value::text, |text| quoted(text))
    }

    /// Text that `check` accepts; its error is the rest of a sentence that begins with the key.
    pub fn checked(
        &mut self,
        key: &str,
        default: &str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> String {
        let parse = |value: &Value| {
            let text = value.text()?;
            check(&text).map(|()| text)
        };
        // A default that derives from the host or from another key can be wrong as well.
        if let (false, Err(what)) = (self.is_set(key), check(default)) {
            self.problem(key, &what);
        }
        self.take(key, default.to_owned(), parse, |text| quoted(text))
    }

    pub fn parsed<T>(
        &mut self,
        key: &str,
        default: &str,
        parse: impl Fn(&str) -> Result<T, String>,
        show: impl Fn(&T) -> String,
    ) -> T {
        let value = parse(default).expect("a default is valid");
        self.take(
            key,
            value,
            |value| parse(&value.text()?),
            |value| quoted(&show(value)),
        )
    }

    pub fn choice<T: Copy + PartialEq>(
        &mut self,
        key: &str,
        default: &str,
        choices: &[(&str, T)],
    ) -> T {
        let parse = |text: &str| choose(text, choices);
        self.parsed(key, default, parse, |value| {
            name_of(value, choices).to_owned()
        })
    }

    pub fn choices<T: Copy + PartialEq>(
        &mut self,
        key: &str,
        default: &[T],
        choices: &[(&str, T)],
    ) -> Vec<T> {
        let parse = |value: &Value| {
            value
                .list()?
                .iter()
                .map(|text| choose(text, choices))
                .collect::<Result<Vec<_>, _>>()
        };
        let show = |values: &Vec<T>| list(values.iter().map(|value| name_of(value, choices)));
        self.take(key, default.to_vec(), parse, show)
    }

    pub fn texts(&mut self, key: &str, default: &[&str]) -> Vec<String> {
        let default = default.iter().map(|text| (*text).to_owned()).collect();
        let show = |texts: &Vec<String>| list(texts.iter().map(String::as_str));
        self.take(key, default, Value::list, show)
    }

    pub fn boolean(&mut self, key: &str, default: bool) -> bool {
        self.take(key, default, Value::boolean, bool::to_string)
    }

    pub fn number(&mut self, key: &str, default: usize, limits: RangeInclusive<usize>) -> usize {
        let parse = |value: &Value| {
            let number = value.integer()?;
            let within = usize::try_from(number)
                .ok()
                .filter(|number| limits.contains(number));
            within.ok_or_else(|| outside(&number.to_string(), limits.start(), limits.end()))
        };
        self.take(key, default, parse, usize::to_string)
    }

    pub fn decimal(&mut self, key: &str, default: f64, limits: RangeInclusive<f64>) -> f64 {
        let parse = |value: &Value| {
            let number = value.decimal()?;
            let within = Some(number).filter(|number| limits.contains(number));
            within.ok_or_else(|| outside(&number.to_string(), limits.start(), limits.end()))
        };
        self.take(key, default, parse, |number| format!("{number:?}"))
    }

    pub fn duration(&mut self, key: &str, default: &str, limits: [&str; 2]) -> Duration {
        let show = |duration: &Duration| units::show_duration(*duration);
        self.quantity(key, default, limits, units::duration, show)
    }

    pub fn size(&mut self, key: &str, default: &str, limits: [&str; 2]) -> usize {
        self.quantity(key, default, limits, units::size, |bytes| {
            units::show_size(*bytes)
        })
    }

    fn quantity<T: PartialOrd>(
        &mut self,
        key: &str,
        default: &str,
        [least, most]: [&str; 2],
        read: fn(&str) -> Result<T, String>,
        show: impl Fn(&T) -> String,
    ) -> T {
        let parse = |value: &Value| {
            let text = value.quantity()?;
            let amount = read(&text)?;
            let limits = read(least)?..=read(most)?;
            if limits.contains(&amount) {
                Ok(amount)
            } else {
                Err(outside(&text, least, most))
            }
        };
        let default = read(default).expect("a default is valid");
        self.take(key, default, parse, |amount| quoted(&show(amount)))
    }

    /// A path; an empty one is none. Relative paths of the file start at the folder of the file,
    /// those of the environment and of `--set` at the working directory.
    pub fn path(&mut self, key: &str, default: &str) -> Option<PathBuf> {
        let text = self.take(key, default.to_owned(), path_text, |text| quoted(text));
        (!text.is_empty()).then(|| self.folder.join(text))
    }

    /// A list of files or folders, each as [`Reader::path`].
    pub fn paths(&mut self, key: &str) -> Vec<PathBuf> {
        let parse = |value: &Value| {
            let texts = value.list()?.into_iter();
            let paths = texts.map(|text| match (text.is_empty(), value) {
                (true, _) => Err("has an empty name; take it out".to_owned()),
                (false, Value::List(_)) => Ok(text),
                (false, _) => absolute(&text),
            });
            paths.collect()
        };
        let show = |texts: &Vec<String>| list(texts.iter().map(String::as_str));
        let texts = self.take(key, Vec::new(), parse, show);
        texts.iter().map(|text| self.folder.join(text)).collect()
    }

    /// Every key below `prefix`, each a number with a path.
    pub fn numbered_paths(&mut self, prefix: &str) -> BTreeMap<u32, PathBuf> {
        let mut paths = BTreeMap::new();
        for key in self.below(prefix) {
            let name = &key[prefix.len() + 1..];
            let Ok(number) = name.parse::<u32>() else {
                self.known.push(key.clone());
                self.problem(
                    &key,
                    "must be named by a number, the registry's id of the schema",
                );
                continue;
            };
            // The key is set: the default stands only beside a problem of another kind.
            if let Some(path) = self.path(&key, "unreadable") {
                paths.insert(number, path);
            } else {
                self.problem(&key, "is empty; name the file of the schema");
            }
        }
        paths
    }

    /// The keys that are set below `prefix`.
    pub fn below(&self, prefix: &str) -> Vec<String> {
        let prefix = format!("{prefix}.");
        self.layers
            .settings
            .keys()
            .filter(|key| key.starts_with(&prefix))
            .cloned()
            .collect()
    }

    /// The value of a librdkafka property, verbatim. The caller checks it and shows it.
    pub fn property(&mut self, key: &str) -> Option<String> {
        self.known.push(key.to_owned());
        match self.layers.settings.get(key)?.value.property() {
            Ok(text) => Some(text),
            Err(what) => {
                self.problem(key, &what);
                None
            }
        }
    }

    /// Shows `name = "text"` in the effective configuration.
    pub fn show(&mut self, section: &str, name: &str, text: &str) {
        self.shown
            .add(section, format!("{} = {}", bare(name), quoted(text)));
    }

    /// Shows a comment in the effective configuration.
    pub fn remark(&mut self, section: &str, text: &str) {
        self.shown.add(section, format!("# {text}"));
    }

    /// Declares a section of the file that may be empty.
    pub fn section(&mut self, name: &str) {
        self.known.push(format!("{name}."));
    }

    pub fn problem(&mut self, key: &str, what: &str) {
        let origin = self.origin(key);
        self.layers.problems.push(Problem {
            origin,
            sentence: format!("{key} {what}"),
        });
    }

    pub fn origin(&self, key: &str) -> Origin {
        self.layers
            .settings
            .get(key)
            .map_or(Origin::Default, |setting| setting.origin.clone())
    }

    pub fn is_set(&self, key: &str) -> bool {
        self.layers.settings.contains_key(key)
    }

    pub fn has_problems(&self) -> bool {
        !self.layers.problems.is_empty()
    }

    fn take<T>(
        &mut self,
        key: &str,
        default: T,
        parse: impl Fn(&Value) -> Result<T, String>,
        show: impl Fn(&T) -> String,
    ) -> T {
        self.known.push(key.to_owned());
        let parsed = self
            .layers
            .settings
            .get(key)
            .map(|setting| parse(&setting.value));
        let value = match parsed {
            Some(Ok(value)) => value,
            Some(Err(what)) => {
                self.problem(key, &what);
                default
            }
            None => default,
        };
        let (section, name) = key.rsplit_once('.').expect("every key has a section");
        self.shown
            .add(section, format!("{} = {}", bare(name), show(&value)));
        value
    }

    /// The effective configuration, and where each key was set.
    ///
    /// # Errors
    /// Everything that is wrong, one sentence a line, in the order of the file.
    pub fn finish(mut self) -> Result<(String, BTreeMap<String, Origin>), Fatal> {
        self.refuse_unknown();
        self.refuse_strays();
        if self.has_problems() {
            return Err(refusal(self.layers.problems));
        }
        let origins = self
            .layers
            .settings
            .into_iter()
            .map(|(key, set)| (key, set.origin));
        Ok((self.shown.text(), origins.collect()))
    }

    fn refuse_unknown(&mut self) {
        let mut unknown = Vec::new();
        for (key, setting) in &self.layers.settings {
            if !self.known.contains(key) {
                unknown.push((key.clone(), setting.origin.clone()));
            }
        }
        for (section, origin) in &self.layers.sections {
            let prefix = format!("{section}.");
            let holds = |key: &String| key.starts_with(&prefix);
            let is_empty = !self.layers.settings.keys().any(holds);
            if is_empty && !self.known.iter().any(holds) {
                unknown.push((section.clone(), origin.clone()));
            }
        }
        for (key, origin) in unknown {
            let sentence = format!("{key} is unknown; {}", suggestion(&key, &self.known));
            self.layers.problems.push(Problem { origin, sentence });
        }
    }

    /// A variable that spells a key with too few underscores would be passed over without a word.
    fn refuse_strays(&mut self) {
        let properties = kafka::names().map(|(_, name)| format!("kafka.{name}"));
        let keys: Vec<String> = self.known.iter().cloned().chain(properties).collect();
        for variable in std::mem::take(&mut self.layers.strays) {
            let Some(key) = keys.iter().find(|key| flat(key) == flat(&variable)) else {
                continue;
            };
            let sentence = format!("sets nothing; for {key} write {}", variable_of(key));
            let origin = Origin::Environment { variable };
            self.layers.problems.push(Problem { origin, sentence });
        }
    }
}

fn suggestion(key: &str, known: &[String]) -> String {
    let inside = format!("{key}.");
    if known.iter().any(|name| name.starts_with(&inside)) {
        return format!("it is a section: write [{key}] and its keys below it");
    }
    let name = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    let elsewhere = known
        .iter()
        .find(|other| name(other) == name(key) && !other.ends_with('.'));
    let sections = known
        .iter()
        .filter_map(|other| other.rsplit_once('.'))
        .map(|(name, _)| name);
    let candidates = known
        .iter()
        .map(|other| other.trim_end_matches('.'))
        .chain(sections);
    match nearest(key, candidates).or(elsewhere.map(String::as_str)) {
        Some(other) => format!("did you mean {other}?"),
        None => "`probity config show` lists every key".to_owned(),
    }
}

/// The candidate that differs from `word` by the fewest letters, if that is few enough for a slip.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let slip = 1 + word.len() / 6;
    let measured = candidates.map(|candidate| (distance(word, candidate), candidate));
    measured
        .filter(|(letters, _)| *letters <= slip)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The number of letters to insert, delete or replace (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// A path as it stands in the file; one from elsewhere made absolute, so that it means the same
/// when it is shown.
fn path_text(value: &Value) -> Result<String, String> {
    let text = value.text()?;
    if text.is_empty() || matches!(value, Value::Text(_)) {
        return Ok(text);
    }
    absolute(&text)
}

fn absolute(text: &str) -> Result<String, String> {
    let absolute = std::path::absolute(text)
        .ok()
        .and_then(|path| path.into_os_string().into_string().ok());
    absolute.ok_or_else(|| {
        format!("is {text:?}, which cannot be made absolute; write an absolute path")
    })
}

fn choose<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let found = choices.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| quoted(name)).collect();
        format!("is {text:?}; write {}", names.join(" or "))
    })
}

fn name_of<'a, T: Copy + PartialEq>(value: &T, choices: &[(&'a str, T)]) -> &'a str {
    let found = choices.iter().find(|(_, choice)| choice == value);
    found.expect("every value of a choice has a name").0
}

fn outside(text: &str, least: impl ToString, most: impl ToString) -> String {
    let (least, most) = (least.to_string(), most.to_string());
    format!("is {text}, which is outside its limits; write {least} to {most}")
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A key as TOML wants it.
fn bare(name: &str) -> String {
    let plain = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if plain { name.to_owned() } else { quoted(name) }
}

fn list<'a>(items: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", items.map(quoted).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_letters() {
        assert_eq!(distance("max_row", "max_rows"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "ab"), 2);
    }

    #[test]
    fn suggestions() {
        let known: Vec<String> = ["batch.max_rows", "batch.linger", "input.schemas."]
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            suggestion("batch.max_row", &known),
            "did you mean batch.max_rows?"
        );
        assert_eq!(
            suggestion("input.linger", &known),
            "did you mean batch.linger?"
        );
        assert_eq!(suggestion("bach", &known), "did you mean batch?");
        assert_eq!(
            suggestion("batch", &known),
            "it is a section: write [batch] and its keys below it"
        );
        assert_eq!(
            suggestion("zebra", &known),
            "`probity config show` lists every key"
        );
    }
}
