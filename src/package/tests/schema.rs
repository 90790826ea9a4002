//! `schemas/model.schema.json` knows the keys that the reader knows. `tests/python/test_schema.py` validates with it
//! the same changes of a `model.toml` as are read here.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

/// A file of the tests' data, which an image is built without.
pub(super) fn data(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/manifest");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// What is said of `manifest`, if it is refused.
fn problem(manifest: &str) -> Option<String> {
    let folder = folder(manifest);
    let error = Package::load_features(folder.path()).err()?;
    assert_eq!(error.exit, Exit::Usage);
    Some(error.to_string())
}

#[derive(serde::Deserialize)]
struct Change {
    from: String,
    to: String,
    refused_by: String,
}

#[test]
fn changes_are_refused_as_the_schema_refuses_them() {
    let complete = data("complete.toml");
    let changes: Vec<Change> = serde_json::from_str(&data("changes.json")).unwrap();
    for Change {
        from,
        to,
        refused_by,
    } in changes
    {
        assert!(complete.contains(&from), "{from} is not in the text");
        let problem = problem(&complete.replacen(&from, &to, 1));
        match refused_by.as_str() {
            "nobody" => assert_eq!(problem, None, "{from} → {to}"),
            "both" | "reader" => assert!(problem.is_some(), "{from} → {to}"),
            other => panic!("{other}"),
        }
    }
}

/// The keys that the reader says it knows, where the table that begins with `line` has another.
fn known_keys(line: &str, to: &str) -> BTreeSet<String> {
    let problem = problem(&data("complete.toml").replacen(line, to, 1)).unwrap();
    let (_, list) = problem
        .split_once("zzz` is unknown; write one of ")
        .unwrap_or_else(|| panic!("{problem}"));
    let (list, _) = list.split_once(", or take it out").unwrap();
    list.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_schema_has_every_key_and_no_other() {
    let schema = include_str!("../../../schemas/model.schema.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    for (at, line, to) in [
        ("", "version = \"1.2.0\"", "zzz = 1\nversion = \"1.2.0\""),
        ("/properties/model", "[model]", "[model]\nzzz = 1"),
        ("/properties/output", "[output]", "[output]\nzzz = 1"),
        ("/$defs/pick", "column = 1", "zzz = 1"),
        ("/properties/policy", "[policy]", "[policy]\nzzz = 1"),
        ("/$defs/rule", "[[policy.rule]]", "[[policy.rule]]\nzzz = 1"),
        ("/properties/reasons", "[reasons]", "[reasons]\nzzz = 1"),
        (
            "/properties/reason/items",
            "[[reason]]",
            "[[reason]]\nzzz = 1",
        ),
        ("/$defs/feature", "[[feature]]", "[[feature]]\nzzz = 1"),
    ] {
        let table = schema.pointer(at).unwrap();
        assert_eq!(table["additionalProperties"], Value::Bool(false), "{at}");
        let keys = table["properties"].as_object().unwrap();
        let written: BTreeSet<String> = keys.keys().cloned().collect();
        assert_eq!(written, known_keys(line, to), "{at}");
        for (key, value) in keys {
            assert!(
                value["description"].is_string(),
                "{at}: {key} is not described"
            );
        }
    }
}
