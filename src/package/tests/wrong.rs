//! What is said of a `model.toml` that is no such file, or has a value of another type: the whole key, and what to write.

use super::*;

fn said(from: &str, to: &str) -> String {
    let complete = schema::data("complete.toml");
    assert!(complete.contains(from), "{from} is not in the text");
    let folder = folder(&complete.replacen(from, to, 1));
    let error = Package::load_features(folder.path()).unwrap_err();
    assert_eq!(error.exit, Exit::Usage);
    let text = error.to_string();
    let manifest = folder.path().join("model.toml").display().to_string();
    text.strip_prefix(&manifest).unwrap().to_owned()
}

#[test]
fn a_value_of_another_type_is_named_with_its_key_and_what_to_write() {
    for (from, to, says) in [
        (
            "name = \"card-risk\"",
            "name = 5",
            ":2: `name` is a whole number; write a text, in quotes",
        ),
        (
            "[8, 64]",
            "\"x\"",
            ":7: `model.chunk_rows` is a text; write a whole number from 1 to 4096, or several",
        ),
        (
            "[8, 64]",
            "[8.5]",
            ":7: `model.chunk_rows` is a list; write a whole number from 1 to 4096, or several",
        ),
        (
            "column = 1",
            "column = \"1\"",
            ":13: `output.probability.column` is a text; write a whole number, counted from 0",
        ),
        (
            "class = \"fraud\"",
            "class = true",
            ":14: `output.margin.class` is true or false; write a text in quotes, or a whole",
        ),
        (
            "review = 0.5",
            "review = \"x\"",
            ":18: `policy.review` is a text; write a number from 0 to 1, like 0.5",
        ),
        (
            "decision = \"decline\"",
            "decision = 2",
            ":30: policy.rule 2: `decision` is a whole number; write a text",
        ),
        (
            "language = \"en\"",
            "language = [\"en\"]",
            ":36: `reasons.language` is a list; write a text, in quotes",
        ),
        (
            "[\"count\"]",
            "\"count\"",
            ":47: reason 2: `features` is a text; write names of features, like",
        ),
        (
            "[\"amount\", \"ratio\"]",
            "[\"amount\", 2]",
            "reason 1: `features 2` is a whole number; write names of features",
        ),
        (
            "en = \"Few payments\"",
            "en = 0",
            ":49: reason 2: `lowers.en` is a whole number; write a text, in quotes",
        ),
        (
            "impute = 1\n",
            "impute = true\n",
            ":76: feature 4: `impute` is true or false; write a number, without quotes",
        ),
        (
            "contactless = 0",
            "contactless = \"0\"",
            "feature 6: `categories.contactless` is a text; write a number",
        ),
        (
            "[0, 10000.5]",
            "2026-01-01",
            "feature 1: `range` is a date or time without quotes; write two numbers, like [0, 100]",
        ),
    ] {
        let text = said(from, to);
        assert!(text.contains(says), "wanted {says}: {text}");
        assert!(!text.contains("expected"), "{text}");
    }
}

#[test]
fn a_key_that_is_missing_or_unknown_is_named_in_its_table() {
    for (from, to, says) in [
        (
            "version = \"1.2.0\"",
            "",
            ": the file has no `version`; write a text, in quotes",
        ),
        (
            "[output]",
            "[outputs]",
            "`outputs` is unknown; write one of `name`, `version`, `model`, `output`",
        ),
        (
            "file = \"model.onnx\"",
            "",
            ":5: model has no `file`; write the name of a file in the folder",
        ),
        (
            "name = \"probabilities\", ",
            "",
            ":13: output.probability has no `name`; write the name of an output",
        ),
        (
            "review = 0.5",
            "",
            ":16: policy has no `review`; write a number from 0 to 1",
        ),
        (
            "review = 0.5",
            "revue = 0.5",
            ":18: `policy.revue` is unknown; write one of `version`, `review`",
        ),
        (
            "when = \"card_count_1h > 20\"",
            "",
            ":27: policy.rule 2 has no `when`; write a condition",
        ),
        (
            "sql = \"amount_ratio\"",
            "",
            ":61: feature 2 has no `sql`; write an expression over the event's columns",
        ),
        (
            "sql = \"amount_ratio\"",
            "sq = \"amount_ratio\"",
            ":63: feature 2: `sq` is unknown; write one of `name`, `sql`",
        ),
        ("language = \"en\"", "", ":32: reasons has no `language`"),
    ] {
        let text = said(from, to);
        assert!(text.contains(says), "wanted {says}: {text}");
    }
    let text = said("[policy]", "[policy");
    assert!(text.starts_with(":16: no TOML: "), "{text}");
}
