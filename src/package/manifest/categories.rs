//! `categories` and `unknown` of `[[feature]]`: the numbers that stand for texts.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::{EXACT_INTEGER_MAX, FeatureTable, Reader};
use crate::error::Result;
use crate::features::{Categories, FeatureType};

#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Codes(BTreeMap<String, Spanned<f64>>);

impl Reader<'_> {
    pub(super) fn categories(
        &self,
        name: &str,
        kind: FeatureType,
        table: &FeatureTable,
    ) -> Result<Option<Categories>> {
        let (codes, unknown) = match (&table.categories, &table.unknown) {
            (None, None) => return Ok(None),
            (Some(codes), Some(unknown)) => (codes, unknown),
            (Some(codes), None) => {
                let message = format!(
                    "`categories` of feature `{name}` without `unknown`; write the code of texts that are not listed, \
                     like unknown = -1"
                );
                return Err(self.refuse(codes.span(), message));
            }
            (None, Some(unknown)) => {
                let message = format!(
                    "`unknown` of feature `{name}` without `categories`; write categories = {{ text = code, … }}, or \
                     leave it out"
                );
                return Err(self.refuse(unknown.span(), message));
            }
        };
        if matches!(kind, FeatureType::Utf8 | FeatureType::Boolean) {
            let message = format!(
                "`categories` of feature `{name}`: a {} has no codes; write type = \"float32\", \"float64\" or \"int64\"",
                kind.as_str()
            );
            return Err(self.refuse(codes.span(), message));
        }
        if codes.get_ref().0.is_empty() {
            let message =
                format!("`categories` of feature `{name}` is empty; write a text and its code");
            return Err(self.refuse(codes.span(), message));
        }
        let mut listed = BTreeMap::new();
        for (text, code) in &codes.get_ref().0 {
            self.category_code(
                kind,
                &format!("`categories` of feature `{name}`: the code of {text:?}"),
                code,
            )?;
            listed.insert(text.clone(), *code.get_ref());
        }
        let what = format!("`unknown` of feature `{name}`");
        let other = *unknown.get_ref();
        self.category_code(kind, &what, unknown)?;
        if let Some((text, _)) = listed.iter().find(|(_, code)| **code == other) {
            let message =
                format!("{what} is the code of {text:?} as well; write a number that no text has");
            return Err(self.refuse(unknown.span(), message));
        }
        Ok(Some(Categories::new(listed, other)))
    }

    /// A number that the model gets as it is written.
    fn category_code(&self, kind: FeatureType, what: &str, code: &Spanned<f64>) -> Result<()> {
        let value = *code.get_ref();
        let (is_exact, wanted) = match kind {
            FeatureType::Int64 => (
                value.fract() == 0.0 && value.abs() < EXACT_INTEGER_MAX,
                "a whole number",
            ),
            FeatureType::Float32 => (
                value.is_finite() && f64::from(value as f32) == value,
                "a number that a float32 holds exactly, such as a whole one",
            ),
            _ => (value.is_finite(), "a finite number"),
        };
        match is_exact {
            true => Ok(()),
            false => Err(self.refuse(
                code.span(),
                format!(
                    "{what} is {value:?}, which is no {}; write {wanted}",
                    kind.as_str()
                ),
            )),
        }
    }
}
