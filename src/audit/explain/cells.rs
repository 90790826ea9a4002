//! The values of an archived row, for people and for JSON.

use super::super::verify::show_time;
use crate::archive::leaf::Value;

/// The values of a row, by column.
pub struct Cells(pub Vec<(String, Value)>);

impl Cells {
    pub fn get(&self, name: &str) -> Option<&Value> {
        let found = self.0.iter().find(|(column, _)| column == name);
        found
            .map(|(_, value)| value)
            .filter(|value| **value != Value::Null)
    }

    /// A text without quotes, anything else as it shows itself; none for null.
    pub fn shown(&self, name: &str) -> Option<String> {
        self.get(name).map(plain)
    }

    /// Of a column that all rows have.
    pub fn text(&self, name: &str) -> String {
        self.shown(name).unwrap_or_default()
    }
}

/// A value on one line, texts without quotes where nothing in them needs any.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Time(time) => show_time(*time),
        Value::Text(text) if !text.contains(char::is_control) => text.clone(),
        value => value.to_string(),
    }
}

pub fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::F32(value) => (*value).into(),
        Value::F64(value) => (*value).into(),
        Value::Text(text) => text.clone().into(),
        Value::Time(time) => show_time(*time).into(),
        value => value.to_string().into(),
    }
}
