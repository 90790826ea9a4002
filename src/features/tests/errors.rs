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
