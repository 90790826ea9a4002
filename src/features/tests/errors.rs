//! What a person reads when an expression is wrong.

use super::*;
use crate::features::{ExprError, Place};

/// Blocks of "? expression" and the whole text of its error, with an empty line between.
const ERRORS: &str = include_str!("errors.txt");

fn schema() -> Schema {
    use arrow::datatypes::{Field, TimeUnit};
    let mut fields = row().schema().fields().to_vec();
    let local = DataType::Timestamp(TimeUnit::Microsecond, None);
    fields.push(Arc::new(Field::new("local", local, true)));
    fields.push(Arc::new(Field::new("blob", DataType::Binary, true)));
    Schema::new(fields)
}

fn error(sql: &str) -> ExprError {
    match FeatureSet::compile(&[feature("it", sql, FeatureType::Float32)], &schema()) {
        Ok(_) => panic!("{sql} is accepted"),
        Err(errors) => errors.into_iter().next().unwrap(),
    }
}

#[test]
fn errors_point_at_the_word() {
    let blocks = ERRORS
        .split("\n\n")
        .map(str::trim_end)
        .filter(|block| !block.is_empty());
    let expressions = blocks.clone().map(|block| block.lines().next().unwrap());
    let found: Vec<String> = expressions
        .map(|line| format!("{line}\n{}", error(line.strip_prefix("? ").unwrap())))
        .collect();
    let expected: Vec<&str> = blocks.collect();
    assert!(
        found == expected,
        "these texts differ from errors.txt:\n{}",
        found.join("\n\n")
    );
    assert!(found.len() > 60, "the whole list was read");
}

#[test]
fn errors_know_the_line_the_column_and_the_byte() {
    let sql = "'é' = s AND\n  i +\n\tq > 0";
    let error = error(sql);
    assert_eq!(
        error.place,
        Some(Place {
            line: 3,
            column: 2,
            offset: 20,
            length: 1
        })
    );
    assert!(sql[20..].starts_with("q > 0"));
    assert!(
        error.to_string().contains("\n  3 |  q > 0\n    |  ^\n"),
        "{error}"
    );
}

#[test]
fn of_a_long_line_the_error_shows_the_words_around() {
    let sql = format!("LEAST({}q{})", "i, ".repeat(90), ", i".repeat(90));
    let text = error(&sql).to_string();
    let [_, line, caret, _] = text.lines().collect::<Vec<_>>()[..] else {
        panic!("{text}")
    };
    assert!(line.starts_with("  1 | …") && line.ends_with('…') && line.chars().count() < 130);
    let under = line
        .chars()
        .nth(caret.chars().position(|c| c == '^').unwrap());
    assert_eq!(under, Some('q'), "{text}");
}

#[test]
fn nothing_is_no_expression() {
    for sql in ["", "  ", "\n-- only a comment\n", "/* this too */"] {
        assert_eq!(error(sql).message, "the expression is empty", "{sql:?}");
    }
}

#[test]
fn every_wrong_feature_is_reported_at_once() {
    let definitions = [
        feature("unknown", "q", FeatureType::Float32),
        feature("fine", "i", FeatureType::Float32),
        feature("fine", "j", FeatureType::Float32),
        feature("text", "s", FeatureType::Float32),
        feature("number", "1", FeatureType::Utf8),
        feature("double", "x", FeatureType::Int64),
        feature("time", "at", FeatureType::Float64),
        impute("half", "i", FeatureType::Int64, Some(0.5)),
        impute("huge", "x", FeatureType::Float32, Some(1e39)),
        impute("nan", "x", FeatureType::Float64, Some(f64::NAN)),
        impute("word", "s", FeatureType::Utf8, Some(0.0)),
        impute("flag", "yes", FeatureType::Boolean, Some(0.5)),
    ];
    let errors = FeatureSet::compile(&definitions, &schema()).unwrap_err();
    let first_lines: Vec<String> = errors
        .iter()
        .map(|e| e.to_string().lines().next().unwrap().to_owned())
        .collect();
    assert_eq!(
        first_lines,
        [
            "feature `unknown`: there is no column `q`",
            "feature `fine`: another feature has this name",
            "feature `text`: the model wants float32 here, and this is text",
            "feature `number`: the model wants string here, and this is an integer",
            "feature `double`: the model wants int64 here, and this is a double",
            "feature `time`: the model wants float64 here, and this is a timestamp",
            "feature `half`: impute = 0.5 is no value of type int64",
            "feature `huge`: impute = 1e39 is no value of type float32",
            "feature `nan`: impute = NaN is no value of type float64",
            "feature `word`: impute = 0.0 is no value of type string",
            "feature `flag`: impute = 0.5 is no value of type boolean",
        ]
    );
    assert_eq!(errors[4].hint.as_deref(), Some("write CAST(… AS BIGINT)"));
}

#[test]
fn a_condition_is_boolean() {
    let error = Condition::compile("i + 1", &schema()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "condition: a condition is a boolean, and this is an integer\n  1 | i + 1\n    | ^^^^^"
    );
}

/// On a stack of the size that threads have, in a build without optimisation.
#[test]
fn deep_and_long_expressions_are_errors() {
    let nested =
        |depth, open: &str, close: &str| format!("{}i{}", open.repeat(depth), close.repeat(depth));
    let forms = [
        ("nested", nested(400, "(", ")")),
        ("nested", nested(60, "(", ")")),
        ("nested", nested(300, "ABS(", ")")),
        ("nested", nested(900, "- ", "")),
        ("nested", nested(499, "i + ", "")),
        ("nested", nested(400, "", " IS NULL")),
        ("1000 words", nested(500, "i + ", "")),
        ("1000 words", nested(5_000, "(", ")")),
        ("16384 bytes", nested(5_000, "i + ", "")),
        ("16384 bytes", format!("'{}'", "x".repeat(20_000))),
        ("16384 bytes", format!("i{}", " ".repeat(1 << 20))),
    ];
    for (limit, sql) in forms {
        let text = error(&sql).to_string();
        assert!(text.contains(limit), "{limit}: {text}");
    }
    // Refused for another reason than their depth, and before it harms.
    for sql in [
        nested(900, "NOT ", ""),
        nested(200, "CASE WHEN yes THEN ", " END"),
        nested(40, "CASE WHEN yes THEN (", "  END"),
        nested(400, "", "::int"),
    ] {
        error(&sql);
    }
    for (name, sql) in [
        ("parentheses", nested(30, "(", ")")),
        ("case", nested(20, "CASE WHEN yes THEN ", " END")),
        ("sum", nested(90, "i + ", "")),
        ("list", format!("i IN ({})", vec!["1"; 480].join(", "))),
    ] {
        let set = FeatureSet::compile(&[feature(name, &sql, FeatureType::Float32)], &schema());
        assert!(set.is_ok(), "{name}");
    }
}

#[test]
fn the_columns_are_listed_once() {
    let definitions = [
        feature("a", "nothing_like_it", FeatureType::Float32),
        feature("b", "nor_like_this", FeatureType::Float32),
        feature("c", "moneyy", FeatureType::Float32),
    ];
    let errors = FeatureSet::compile(&definitions, &schema()).unwrap_err();
    let hints: Vec<Option<&str>> = errors.iter().map(|e| e.hint.as_deref()).collect();
    assert!(hints[0].is_some_and(|hint| hint.starts_with("the columns are i, j, ")));
    assert_eq!(hints[1], None);
    assert!(hints[2].is_some_and(|hint| hint.contains("money")));
}
