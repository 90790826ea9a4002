//! `[reasons]`, `[[reason]]`, the background, and golden contributions.

use super::*;

const REASONS_TEXT: &str = r#"name = "card-risk"
version = "1.2.0"

[model]
file = "model.onnx"
chunk_rows = 64
golden = "golden.json"

[output]
probability = { name = "score" }
margin = { name = "margin" }

[policy]
version = "2026-11-01"
review = 0.5
decline = 0.9

[reasons]
method = "permutation"
background = "background.json"
language = "en"

[[reason]]
code = "AMOUNT"
features = ["ratio", "amount"]
raises = { en = "The amount is {ratio} times the usual {{mean}}", de = "Der Betrag ist hoch" }
lowers = { en = "The amount is usual", de = "Der Betrag ist üblich" }

[[reason]]
code = "PACE"
features = ["count"]
raises = { en = "{count} payments in an hour", de = "{count} Zahlungen in einer Stunde" }
lowers = { en = "Few payments", de = "Wenige Zahlungen" }

[[feature]]
name = "amount"
sql = "amount_minor / 100.0"

[[feature]]
name = "count"
sql = "card_count_1h"
type = "int64"
impute = 0

[[feature]]
name = "ratio"
sql = "amount_ratio"
type = "float64"

[[feature]]
name = "online"
sql = "online"
type = "boolean"
impute = 0
"#;

const COLUMNS: &str = r#"{"online": {"boolean": [true, false]}, "count": {"int64": [7, 8]},
    "amount": {"float32": "3f8000007fc00000"}, "ratio": {"float64": "3ff00000000000004000000000000000"}}"#;

const CONTRIBUTIONS: &str = r#"{"online": {"float64": "00000000000000000000000000000000"},
    "count": {"float64": "00000000000000000000000000000000"},
    "amount": {"float64": "3ff00000000000004000000000000000"},
    "ratio": {"float64": "bff0000000000000c000000000000000"}}"#;

/// One value of `base`.
const BASE: &str = r#"{"float64": "3fe0000000000000"}"#;

fn golden_text(more: &str) -> String {
    format!(
        r#"{{"onnxruntime": "1.32.0", "chunk_rows": 64, "columns": {COLUMNS},
             "score": {{"float32": "3f00000000000000"}}, "margin": {{"float32": "0000000000000000"}}{more}}}"#
    )
}

fn background_text(columns: &str) -> String {
    format!(r#"{{"columns": {columns}}}"#)
}

fn load(manifest: &str, background: &str, golden: &str) -> Result<Package> {
    let folder = folder(manifest);
    std::fs::write(folder.path().join("background.json"), background).unwrap();
    std::fs::write(folder.path().join("golden.json"), golden).unwrap();
    Package::load(folder.path())
}

/// The package of [`REASONS_TEXT`] after replacing `from`, which must be there.
fn changed(from: &str, to: &str) -> Result<Package> {
    assert!(REASONS_TEXT.contains(from), "{from} is not in the text");
    let manifest = REASONS_TEXT.replacen(from, to, 1);
    let exact = format!(r#", "base": {BASE}, "contributions": {CONTRIBUTIONS}"#);
    let more = match manifest.contains("method = \"permutation\"") {
        true => "",
        false => &exact,
    };
    load(&manifest, &background_text(COLUMNS), &golden_text(more))
}

fn assert_refused(what: &str, loaded: Result<Package>, says: &str) {
    let error = loaded.unwrap_err();
    assert_eq!(error.exit, Exit::Usage, "{what}");
    let text = error.to_string();
    assert!(text.contains(says), "{what}: wanted {says}: {text}");
}

#[test]
fn reasons_say_what_the_manifest_says() {
    let package = load(REASONS_TEXT, &background_text(COLUMNS), &golden_text("")).unwrap();
    let reasons = package.reasons.as_ref().unwrap();
    assert_eq!(
        (
            reasons.method,
            reasons.permutations,
            reasons.language.as_str()
        ),
        (Method::Permutation, 2, "en")
    );
    assert_eq!(reasons.background.rows, 2);
    let types = reasons
        .background
        .columns
        .iter()
        .map(|c| c.data_type().to_string());
    assert_eq!(
        types.collect::<Vec<_>>(),
        ["Float32", "Int64", "Float64", "Boolean"]
    );
    let [amount, pace] = reasons.groups.as_slice() else {
        panic!("{:?}", reasons.groups);
    };
    assert_eq!(
        (amount.code.as_str(), &*amount.features),
        ("AMOUNT", &[2, 0][..])
    );
    assert_eq!((pace.code.as_str(), &*pace.features), ("PACE", &[1][..]));
    let languages: Vec<_> = amount.lowers.keys().collect();
    assert_eq!(languages, ["de", "en"]);
    let text = amount.raises["en"].render(|feature| format!("<{feature}>"));
    assert_eq!(text, "The amount is <2> times the usual {mean}");
    assert_eq!(amount.raises["en"].features().collect::<Vec<_>>(), [2]);
}

#[test]
fn without_reasons_nothing_is_explained() {
    let package = Package::load(folder(MANIFEST_TEXT).path()).unwrap();
    assert!(package.reasons.is_none() && package.background_file.is_none());
}

#[test]
fn the_background_belongs_to_the_digest() {
    let one = load(REASONS_TEXT, &background_text(COLUMNS), &golden_text("")).unwrap();
    let other = COLUMNS.replace("[7, 8]", "[7, 9]");
    let other = load(REASONS_TEXT, &background_text(&other), &golden_text("")).unwrap();
    assert_ne!(one.digest(), other.digest());
    let names: Vec<_> = one.files().iter().map(|part| part.file.as_str()).collect();
    assert_eq!(
        names,
        ["background.json", "golden.json", "model.onnx", "model.toml"]
    );
    assert!(one.listing().contains("  background.json\n"));
}

#[test]
fn permutations_are_for_the_approximate_method_alone() {
    let written = |method: &str, line: &str| {
        let to = format!("method = \"{method}\"\n{line}");
        changed("method = \"permutation\"", &to)
    };
    let number = |loaded: Result<Package>| {
        let reasons = loaded.unwrap().reasons.unwrap();
        (reasons.method, reasons.permutations)
    };
    assert_eq!(
        number(written("permutation", "permutations = 100")),
        (Method::Permutation, 100)
    );
    assert_eq!(number(written("tree", "")), (Method::Tree, 0));
    assert_eq!(number(written("linear", "")), (Method::Linear, 0));
    let says = ":20: `reasons.permutations` does nothing for the method \"tree\", which is exact; leave it out";
    assert_refused("tree", written("tree", "permutations = 2"), says);
    for bad in ["0", "101", "-1"] {
        let says = format!(":20: `reasons.permutations` is {bad}; write a number from 1 to 100");
        let line = format!("permutations = {bad}");
        assert_refused(bad, written("permutation", &line), &says);
    }
}

#[test]
fn reasons_that_cannot_be_are_refused_with_the_fix() {
    for (from, to, says) in [
        (
            "margin = { name = \"margin\" }",
            "",
            ":18: `[reasons]` without `output.margin`: reasons explain the margin",
        ),
        (
            "\"permutation\"",
            "\"shap\"",
            ":19: `reasons.method` is \"shap\"; write one of tree, linear, permutation",
        ),
        (
            "\"permutation\"",
            "\"tree-path-dependent\"",
            "need to know how many training rows went where, which an ONNX file does not say",
        ),
        (
            "\"background.json\"",
            "\"../background.json\"",
            ":20: `reasons.background` is \"../background.json\"",
        ),
        (
            "\"background.json\"",
            "\"golden.json\"",
            ":20: `reasons.background` is \"golden.json\"; write the name of another file",
        ),
        (
            "language = \"en\"",
            "language = \"fr\"",
            ":21: `reasons.language` is \"fr\", but the texts are in de, en; write one of these",
        ),
        (
            "language = \"en\"",
            "",
            "reasons has no `language`; write a text",
        ),
        (
            "method = ",
            "methods = ",
            ":19: `reasons.methods` is unknown",
        ),
        ("code = ", "codes = ", ":24: reason 1: `codes` is unknown"),
        (
            "\"AMOUNT\"",
            "\"AN AMOUNT\"",
            ":24: `reason.code` is \"AN AMOUNT\"",
        ),
        (
            "\"AMOUNT\"",
            "\"OTHER\"",
            ":24: `reason.code` is \"OTHER\"; write at most 32",
        ),
        (
            "\"AMOUNT\"",
            "\"A12345678901234567890123456789012\"",
            ":24: `reason.code` is \"A12345678901234567890123456789012\"; write at most 32",
        ),
        (
            "\"PACE\"",
            "\"AMOUNT\"",
            ":30: a second reason has the code `AMOUNT`; rename one",
        ),
        (
            "[\"ratio\", \"amount\"]",
            "[]",
            ":25: `features` of `AMOUNT` is empty; name at least one",
        ),
        (
            "[\"ratio\", \"amount\"]",
            "[\"ratio\",\n\"amounts\"]",
            ":26: `features` of `AMOUNT` has \"amounts\", which is no feature",
        ),
        (
            "[\"count\"]",
            "[\"count\", \"ratio\"]",
            ":31: feature `ratio` stands in `AMOUNT` already",
        ),
        (
            "[\"count\"]",
            "[\"count\", \"count\"]",
            ":31: feature `count` stands in `PACE` already",
        ),
        (
            "{ en = \"Few payments\", de = \"Wenige Zahlungen\" }",
            "{}",
            ":33: `lowers` of `PACE` has no text; write one like { en =",
        ),
        (
            ", de = \"Wenige Zahlungen\"",
            "",
            ":33: `lowers` of `PACE` is in en, but the first text in de, en; write the same",
        ),
        (
            "{count} payments in an hour\", de =",
            "{count} payments in an hour\", fr =",
            ":32: `raises` of `PACE` is in en, fr, but the first text in de, en; write the same",
        ),
        (
            "en = \"Few payments\"",
            "EN = \"Few payments\"",
            ":33: `lowers.EN` of `PACE`: no tag of a language; write one like en",
        ),
        (
            "Few payments",
            " ",
            ":33: `lowers.en` of `PACE`: write 1 to 500 characters, in one line",
        ),
        (
            "Few payments",
            "Few\\npayments",
            ":33: `lowers.en` of `PACE`: write 1 to 500 characters, in one line",
        ),
        (
            "Few payments",
            "Few {amount} payments",
            ":33: `lowers.en` of `PACE`: {amount} names no feature of this group",
        ),
        (
            "Few payments",
            "Few {count payments",
            ":33: `lowers.en` of `PACE`: a `{` is not closed",
        ),
        (
            "Few payments",
            "Few count} payments",
            ":33: `lowers.en` of `PACE`: a `}` stands alone",
        ),
    ] {
        assert_refused(to, changed(from, to), says);
    }
}

#[test]
fn a_text_has_an_end() {
    let long = "x".repeat(500);
    assert!(changed("Few payments", &long).is_ok());
    let says = ":33: `lowers.en` of `PACE`: write 1 to 500 characters";
    assert_refused("501", changed("Few payments", &format!("{long}x")), says);
}

#[test]
fn the_two_tables_demand_each_other() {
    let cut = |from: &str, to: &str| {
        let (start, end) = (
            REASONS_TEXT.find(from).unwrap(),
            REASONS_TEXT.find(to).unwrap(),
        );
        format!("{}{}", &REASONS_TEXT[..start], &REASONS_TEXT[end..])
    };
    let loaded = |manifest: &str| load(manifest, &background_text(COLUMNS), &golden_text(""));
    let alone = cut("[[reason]]", "[[feature]]");
    let says = ":18: `[reasons]` has no group; write at least one table [[reason]]";
    assert_refused("[reasons]", loaded(&alone), says);
    let alone = cut("[reasons]", "[[reason]]");
    let says = ":18: `[[reason]]` without `[reasons]`; write [reasons] with method";
    assert_refused("[[reason]]", loaded(&alone), says);
}

#[test]
fn languages_have_the_shape_of_bcp_47() {
    for (tag, good) in [
        ("de", true),
        ("gsw", true),
        ("de-AT", true),
        ("zh-Hant-TW", true),
        ("d", false),
        ("DE", false),
        ("deutsch", false),
        ("de-", false),
        ("de-Austria1x", false),
        ("de-a-b-c-d-e-f-g-h-i-j-k-l-m-n-o-p-q-r", false),
    ] {
        let to = REASONS_TEXT.replace(", de = ", &format!(", {tag} = "));
        let loaded = load(&to, &background_text(COLUMNS), &golden_text(""));
        match good {
            true => assert!(
                loaded.unwrap().reasons.unwrap().groups[0]
                    .raises
                    .contains_key(tag)
            ),
            false => assert_refused(tag, loaded, "no tag of a language"),
        }
    }
}

#[test]
fn a_background_that_does_not_fit_is_refused() {
    let refused = |what: &str, text: &str, says: &str| {
        let loaded = load(REASONS_TEXT, text, &golden_text(""));
        assert_refused(what, loaded, &format!("background.json: {says}"));
    };
    let rows = |count: usize| {
        background_text(&format!(
            r#"{{"online": {{"boolean": {:?}}}, "count": {{"int64": {:?}}},
                 "amount": {{"float32": "{}"}}, "ratio": {{"float64": "{}"}}}}"#,
            vec![true; count],
            vec![1; count],
            "3f800000".repeat(count),
            "3ff0000000000000".repeat(count),
        ))
    };
    assert!(load(REASONS_TEXT, &rows(200), &golden_text("")).is_ok());
    refused(
        "201 rows",
        &rows(201),
        "write the same number of rows, 1 to 200",
    );
    refused(
        "no rows",
        &rows(0),
        "write the same number of rows, 1 to 200",
    );
    for (from, to, says) in [
        ("[7, 8]", "[7]", "write the same number of rows, 1 to 200"),
        ("\"count\"", "\"counts\"", "no column `count`; write one"),
        (
            "{\"online\"",
            "{\"other\": {\"int64\": [1, 2]}, \"online\"",
            "column `other` is no feature",
        ),
        (
            "{\"int64\": [7, 8]}",
            "{\"float32\": \"\"}",
            "column `count`: the feature is int64",
        ),
        (
            "3f8000007fc00000",
            "3f8000007fc0000",
            "column `amount`: write 8 hexadecimal digits",
        ),
        (
            "3ff00000000000004000000000000000",
            "3ff00000",
            "column `ratio`: write 16 hexadecimal digits",
        ),
    ] {
        assert!(COLUMNS.contains(from), "{from}");
        refused(to, &background_text(&COLUMNS.replacen(from, to, 1)), says);
    }
    let more = format!("{{\"columns\": {COLUMNS}, \"score\": 1}}");
    refused(
        "more",
        &more,
        "it is not the JSON of background rows at line ",
    );
    let missing = folder(REASONS_TEXT);
    std::fs::write(missing.path().join("golden.json"), golden_text("")).unwrap();
    let says = "background.json cannot be read";
    assert_refused("missing", Package::load(missing.path()), says);
}

#[test]
fn golden_contributions_are_read_by_their_bits() {
    let more = format!(r#", "base": {BASE}, "contributions": {CONTRIBUTIONS}"#);
    let package = load(REASONS_TEXT, &background_text(COLUMNS), &golden_text(&more)).unwrap();
    let golden = package.golden.unwrap();
    assert_eq!(golden.base, Some(0.5));
    assert_eq!(
        golden.contributions,
        Some(vec![
            vec![1.0, 2.0],
            vec![0.0, 0.0],
            vec![-1.0, -2.0],
            vec![0.0, 0.0]
        ])
    );
}

#[test]
fn golden_contributions_that_do_not_fit_are_refused() {
    let refused = |base: Option<&str>, contributions: Option<&str>, says: &str| {
        let key = |name: &str, value: Option<&str>| {
            value.map_or(String::new(), |value| format!(", \"{name}\": {value}"))
        };
        let more = key("base", base) + &key("contributions", contributions);
        let loaded = load(REASONS_TEXT, &background_text(COLUMNS), &golden_text(&more));
        assert_refused(&more, loaded, &format!("golden.json: {says}"));
    };
    let together = "`base` and `contributions` belong together; write both, or neither";
    refused(Some(BASE), None, together);
    refused(None, Some(CONTRIBUTIONS), together);
    for (base, says) in [
        (
            r#"{"float32": "3f000000"}"#,
            "`base`: write {\"float64\": …}",
        ),
        (r#"{"float64": ""}"#, "`base` has 0 values; write one"),
        (
            r#"{"float64": "3fe00000000000003fe0000000000000"}"#,
            "`base` has 2 values; write one",
        ),
        (
            r#"{"float64": "7ff8000000000000"}"#,
            "`base` or a contribution is not a finite number",
        ),
    ] {
        refused(Some(base), Some(CONTRIBUTIONS), says);
    }
    for (from, to, says) in [
        (
            "\"count\"",
            "\"counts\"",
            "`contributions`: no column `count`",
        ),
        (
            "{\"float64\": \"bff0000000000000c000000000000000\"}",
            "{\"float32\": \"3f8000003f800000\"}",
            "`contributions`: column `ratio`: write {\"float64\": …}",
        ),
        (
            "bff0000000000000",
            "7ff0000000000000",
            "`base` or a contribution is not a finite number",
        ),
        (
            "bff0000000000000",
            "",
            "write the same number of rows, 1 to 10000",
        ),
    ] {
        assert!(CONTRIBUTIONS.contains(from), "{from}");
        refused(Some(BASE), Some(&CONTRIBUTIONS.replacen(from, to, 1)), says);
    }
}

#[test]
fn golden_contributions_without_reasons_are_refused() {
    let start = REASONS_TEXT.find("[reasons]").unwrap();
    let end = REASONS_TEXT.find("[[feature]]").unwrap();
    let manifest = format!("{}{}", &REASONS_TEXT[..start], &REASONS_TEXT[end..]);
    let more = format!(r#", "base": {BASE}, "contributions": {CONTRIBUTIONS}"#);
    let loaded = load(&manifest, &background_text(COLUMNS), &golden_text(&more));
    let says = "golden.json: `contributions` would never be checked; write [reasons] in model.toml";
    assert_refused("without", loaded, says);
    assert!(load(&manifest, "not read", &golden_text("")).is_ok());
}
