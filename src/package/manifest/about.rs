//! What `[[feature]]` says for people: unit, range, description, and whether it is personal data.

use serde::Deserialize;
use toml::Spanned;

use super::{FeatureTable, Reader};
use crate::error::Result;
use crate::features::FeatureType;
use crate::package::{About, Personal};

const UNIT_MAX_CHARS: usize = 32;
pub(super) const DESCRIPTION_MAX_CHARS: usize = 1000;

#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Bounds(Vec<f64>);

impl Reader<'_> {
    pub(super) fn about(
        &self,
        name: &str,
        kind: FeatureType,
        table: &FeatureTable,
    ) -> Result<About> {
        let line = |key: &str, text: &Option<Spanned<String>>, most: usize| {
            let what = format!("`{key}` of feature `{name}`");
            let text = text.as_ref();
            text.map(|text| self.one_line(&what, text, most))
                .transpose()
        };
        let range = table.range.as_ref();
        let personal = table.personal.as_ref();
        Ok(About {
            unit: line("unit", &table.unit, UNIT_MAX_CHARS)?,
            range: range
                .map(|range| self.range(name, kind, range))
                .transpose()?,
            description: line("description", &table.description, DESCRIPTION_MAX_CHARS)?,
            personal: personal
                .map(|class| self.personal(name, class))
                .transpose()?,
        })
    }

    pub(super) fn one_line(
        &self,
        what: &str,
        text: &Spanned<String>,
        most: usize,
    ) -> Result<String> {
        let words = text.get_ref();
        if words.trim().is_empty()
            || words.chars().count() > most
            || words.contains(char::is_control)
        {
            let message =
                format!("{what}: write 1 to {most} characters, in one line, or leave it out");
            return Err(self.refuse(text.span(), message));
        }
        Ok(words.clone())
    }

    fn range(&self, name: &str, kind: FeatureType, range: &Spanned<Bounds>) -> Result<[f64; 2]> {
        let refuse = |problem: &str| {
            let message = format!("`range` of feature `{name}`: {problem}");
            self.refuse(range.span(), message)
        };
        if matches!(kind, FeatureType::Utf8 | FeatureType::Boolean) {
            return Err(refuse("only numbers have a range; leave it out"));
        }
        match range.get_ref().0[..] {
            [low, high] if low <= high && low.is_finite() && high.is_finite() => Ok([low, high]),
            _ => Err(refuse(
                "write the least and the greatest usual value, two finite numbers in this order, like [0, 100]",
            )),
        }
    }

    fn personal(&self, name: &str, class: &Spanned<String>) -> Result<Personal> {
        let known = Personal::ALL
            .into_iter()
            .find(|known| known.as_str() == class.get_ref());
        known.ok_or_else(|| {
            let mut message = format!("`personal` of feature `{name}` is {:?}; ", class.get_ref());
            message += &match class.get_ref().as_str() {
                "personal" => "features are archived in clear and stand in texts of reasons, so none may lead to a \
                               person by itself; let the producer compute what the model needs of it"
                    .to_owned(),
                _ => format!("write one of {}", Personal::ALL.map(Personal::as_str).join(", ")),
            };
            self.refuse(class.span(), message)
        })
    }
}
