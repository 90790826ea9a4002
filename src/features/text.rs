//! The functions of text.
//!
//! LENGTH counts characters (Unicode scalar values), not bytes. LOWER follows the Unicode tables of the
//! Rust release that built the program, which never change for letters that already exist.

use arrow::array::{Array, Int64Array, StringArray, StringBuilder};

pub(super) fn length(texts: &StringArray) -> Int64Array {
    texts
        .iter()
        .map(|text| text.map(|text| text.chars().count() as i64))
        .collect()
}

pub(super) fn lower(texts: &StringArray) -> StringArray {
    let mut lower = StringBuilder::with_capacity(texts.len(), texts.value_data().len());
    for text in texts {
        lower.append_option(text.map(str::to_lowercase));
    }
    lower.finish()
}
