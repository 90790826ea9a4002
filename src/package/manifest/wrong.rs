//! What the parser's errors mean for who wrote `model.toml`: which key is wrong, what it is, and what to write.
//!
//! The parser names a place and a type of ours. The place leads to the key; what belongs there stands in [`form`].

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

/// A key, and where it stands: `feature`, 2, `sql`.
#[derive(Clone)]
enum Step {
    Key(String),
    /// Counted from 0.
    Item(usize),
}

/// What stands at a place.
enum Found<'a> {
    Key,
    Value(&'a DeValue<'a>),
}

/// A sentence for the error, and its place.
pub(super) fn explained(text: &str, error: &Error) -> (Range<usize>, String) {
    let span = error.span().unwrap_or(0..0);
    let said = error.message();
    let Ok(document) = DeTable::parse(text) else {
        return (span, format!("no TOML: {said}"));
    };
    let place = match document.span() == span {
        true => Some((Vec::new(), None)),
        false => find(document.get_ref(), &[], &span).map(|(path, found)| (path, Some(found))),
    };
    let sentence = place.and_then(|(path, found)| sentence(&path, found, said));
    (span, sentence.unwrap_or_else(|| said.to_owned()))
}

fn sentence(path: &[Step], found: Option<Found>, said: &str) -> Option<String> {
    if let Some((key, known)) = unknown(said) {
        let parent = match path.split_last() {
            Some((Step::Key(last), parent)) if last == key => parent,
            _ => path,
        };
        return Some(format!(
            "{} is unknown; write one of {known}, or take it out",
            named(&below(parent, key))
        ));
    }
    if let Some(key) = quoted(said, "missing field ") {
        let (missing, table) = (below(path, key), title(path));
        let table = if table.is_empty() { "the file" } else { &table };
        return Some(format!("{table} has no `{key}`; write {}", form(&missing)));
    }
    match found? {
        Found::Value(value) => Some(format!(
            "{} is {}; write {}",
            named(path),
            kind(value),
            form(path)
        )),
        Found::Key => None,
    }
}

/// The key that nobody knows, and those that are known.
fn unknown(said: &str) -> Option<(&str, &str)> {
    let key = quoted(said, "unknown field ")?;
    let (_, known) = said.split_once(", expected ")?;
    let known = known.strip_prefix("one of ").unwrap_or(known);
    Some((key, known))
}

fn quoted<'a>(said: &'a str, before: &str) -> Option<&'a str> {
    let rest = said.strip_prefix(before)?.strip_prefix('`')?;
    rest.split('`').next()
}

fn below(path: &[Step], key: &str) -> Vec<Step> {
    let mut path = path.to_vec();
    path.push(Step::Key(key.to_owned()));
    path
}

/// The key or value that stands exactly there. A table's own place is its heading alone, so all are looked at.
fn find<'a>(
    table: &'a DeTable<'a>,
    path: &[Step],
    span: &Range<usize>,
) -> Option<(Vec<Step>, Found<'a>)> {
    for (key, value) in table {
        let path = below(path, key.get_ref());
        if let Some(found) = find_in(value, &path, span) {
            return Some(found);
        }
        if key.span() == *span {
            return Some((path, Found::Key));
        }
    }
    None
}

fn find_in<'a>(
    value: &'a Spanned<DeValue<'a>>,
    path: &[Step],
    span: &Range<usize>,
) -> Option<(Vec<Step>, Found<'a>)> {
    let inner = match value.get_ref() {
        DeValue::Table(table) => find(table, path, span),
        DeValue::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            let mut path = path.to_vec();
            path.push(Step::Item(index));
            find_in(item, &path, span)
        }),
        _ => None,
    };
    inner.or_else(|| {
        let found = || (path.to_vec(), Found::Value(value.get_ref()));
        (value.span() == *span).then(found)
    })
}

/// The table that a key stands in: `policy`, or `feature 3` of several.
fn title(path: &[Step]) -> String {
    let mut title = String::new();
    for step in path {
        match step {
            Step::Key(key) if title.is_empty() => key.clone_into(&mut title),
            Step::Key(key) => title += &format!(".{key}"),
            Step::Item(index) => title += &format!(" {}", index + 1),
        }
    }
    title
}

/// `policy.review` in quotes, or `feature 3: sql`, the key in quotes.
fn named(path: &[Step]) -> String {
    let tables = path.iter().position(|step| matches!(step, Step::Item(_)));
    match tables {
        Some(last) if last + 1 < path.len() => {
            let (table, key) = path.split_at(last + 1);
            format!("{}: `{}`", title(table), title(key))
        }
        Some(_) => title(path),
        None => format!("`{}`", title(path)),
    }
}

fn kind(value: &DeValue) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time without quotes",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// What belongs there, without numbers of tables and with `*` for a key that the package chooses.
fn form(path: &[Step]) -> &'static str {
    let keys = path.iter().filter_map(|step| match step {
        Step::Key(key) => Some(key.as_str()),
        Step::Item(_) => None,
    });
    let keys: Vec<&str> = keys.collect();
    match keys.as_slice() {
        ["model"] => "a table [model] with `file` and `chunk_rows`",
        ["output"] => "a table [output] with `probability`",
        ["policy"] => "a table [policy] with `version`, `review` and `decline`",
        ["reasons"] => "a table [reasons] with `method`, `background` and `language`",
        ["feature"] => "a table [[feature]] with `name` and `sql` for each",
        ["reason"] => "a table [[reason]] with `code`, `features`, `raises` and `lowers` for each",
        ["policy", "rule"] => "a table [[policy.rule]] with `name`, `when` and `decision` for each",
        ["model", "chunk_rows"] => {
            "a whole number from 1 to 4096, or several in rising order like [8, 64]"
        }
        ["model", "matrix"] => "the name of the model's input, in quotes",
        ["model", _] | ["reasons", "background"] => "the name of a file in the folder, in quotes",
        ["output", _] => "the name of an output like { name = \"score\" }",
        ["output", _, "name"] => "the name of an output, in quotes",
        ["output", _, "column"] => "a whole number, counted from 0",
        ["output", _, "class"] => "a text in quotes, or a whole number",
        ["policy", "review" | "decline"] => "a number from 0 to 1, like 0.5",
        ["reasons", "permutations"] => "a whole number from 1 to 100",
        ["feature", "impute" | "unknown"] | ["feature", "categories", _] => {
            "a number, without quotes"
        }
        ["feature", "range"] => "two numbers, like [0, 100]",
        ["feature", "categories"] => "a number for each text, like { chip = 0, online = 1 }",
        ["feature", "sql"] => {
            "an expression over the event's columns, in quotes, like \"amount_minor / 100.0\""
        }
        ["policy", "rule", "when"] => {
            "a condition over the event's columns, in quotes, like \"amount_minor > 500000\""
        }
        ["reason", "features"] => "names of features, like [\"amount\", \"hour\"]",
        ["reason", "raises" | "lowers"] => "a text for each language, like { en = \"…\" }",
        _ => "a text, in quotes",
    }
}
