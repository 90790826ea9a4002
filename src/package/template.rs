//! A text for people with values of features in it: `{name}` stands for a value, `{{` and `}}` for braces.

/// A text that was parsed: all its places name features of its group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Text(String),
    /// The value of this feature, an index into the package's features.
    Value(usize),
}

impl Template {
    /// Parses `text`; `feature` finds the index of a feature that may be named.
    ///
    /// # Errors
    /// What is wrong and what to write, if a brace stands alone or a place names no such feature.
    pub(super) fn parse(
        text: &str,
        feature: impl Fn(&str) -> Option<usize>,
    ) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            if brace == "}" {
                return Err("a `}` stands alone; write `}}` for a brace".to_owned());
            }
            let Some((name, after)) = rest.split_once('}') else {
                return Err(
                    "a `{` is not closed; write {feature_name}, or `{{` for a brace".to_owned(),
                );
            };
            let index = feature(name).ok_or_else(|| {
                format!(
                    "{{{name}}} names no feature of this group; write one of its `features`, or `{{{{` for a brace"
                )
            })?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Value(index));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Template { parts })
    }

    /// The text, with what `value` says of each feature, by its index in the package, in its place.
    #[must_use]
    pub fn render(&self, value: impl Fn(usize) -> String) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Value(feature) => value(*feature),
        };
        self.parts.iter().map(part).collect()
    }

    /// The features whose values are put in, by their index in the package, as often as they stand there.
    pub fn features(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Value(feature) => Some(*feature),
        })
    }
}
