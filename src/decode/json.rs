//! One JSON object per record, written straight into the columns.
//!
//! `serde_json` cuts the text into keys and values; what a value means is decided here, by the type
//! of its field, from the text itself, so that no number passes through a rounding of the parser.
//! Nothing here recurses: nested values are skipped as text.
//!
//! The rules, which never turn one type into another:
//!
//! - int, long: digits only. `1.0` and `1e3` have another type; what does not fit is out of range.
//! - float, double: any number, rounded to nearest; one that rounds to infinity is out of range.
//! - decimal: a number, or a string that holds one; it must be exact at the scale.
//! - timestamp: an integer in the unit of the schema, or an RFC 3339 string with its zone; digits
//!   after the microsecond are cut off. date: days since 1970-01-01, or `"2026-01-31"`.
//! - enum: one of the symbols. boolean: `true` or `false`. string: a string.
//! - A field that is absent takes its default, or null where it is nullable. A null stands only
//!   where the field is nullable. A known field that comes twice is malformed.
//! - A value nested deeper than the limit is refused wherever it stands, also in an unknown field:
//!   most other readers of the topic could not take the record either.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate};
use serde::de::{DeserializeSeed, Deserializer as _, Error as _, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::column::{Column, Columns};
use super::{Names, UnknownFields};
use crate::record::Reason;
use crate::schema::{Field, InputSchema, TextFault, TimeUnit};

/// Decodes JSON objects of one schema.
pub(super) struct JsonReader {
    fields: Vec<Field>,
    names: Names,
    unknown_fields: UnknownFields,
    max_depth: usize,
}

impl JsonReader {
    pub fn new(schema: &InputSchema, unknown_fields: UnknownFields, max_depth: usize) -> Self {
        let fields = schema.fields().to_vec();
        JsonReader {
            names: Names::of(&fields),
            fields,
            unknown_fields,
            max_depth,
        }
    }

    /// Fills one row; returns how many unknown fields were ignored. On error the row is unfinished.
    pub fn read(&self, value: &[u8], columns: &mut Columns) -> Result<u64, Reason> {
        let text = std::str::from_utf8(value).map_err(|_| Reason::NotUtf8)?;
        let mut refused = None;
        let mut json = serde_json::Deserializer::from_str(text);
        let record = Record {
            reader: self,
            columns,
            refused: &mut refused,
        };
        let read = json.deserialize_map(record);
        match read.and_then(|unknown| json.end().map(|()| unknown)) {
            Ok(unknown) => Ok(unknown),
            Err(error) => Err(refused.unwrap_or_else(|| self.reason(text, error.classify()))),
        }
    }

    /// Why the parser itself stopped.
    fn reason(&self, text: &str, category: Category) -> Reason {
        match category {
            // Well formed as far as it was read, but not an object.
            Category::Data if is_deeper(text, self.max_depth) => Reason::TooDeep,
            Category::Data => Reason::WrongType,
            Category::Syntax | Category::Eof | Category::Io => Reason::Malformed,
        }
    }

    fn read_field(&self, index: usize, text: &str, columns: &mut Columns) -> Result<(), Reason> {
        if columns.is_set(index) {
            return Err(Reason::Malformed);
        }
        let column = columns.get(index);
        match text.as_bytes()[0] {
            b'n' if self.fields[index].nullable => column.push_null(),
            b'n' => return Err(Reason::MissingField),
            b'{' | b'[' if is_deeper(text, self.max_depth) => return Err(Reason::TooDeep),
            b'{' | b'[' => return Err(Reason::WrongType),
            _ => push(text, column)?,
        }
        Ok(())
    }

    fn ignore_field(&self, text: &str) -> Result<(), Reason> {
        match self.unknown_fields {
            UnknownFields::Reject => Err(Reason::UnknownField),
            UnknownFields::Ignore if is_nested(text) && is_deeper(text, self.max_depth) => {
                Err(Reason::TooDeep)
            }
            UnknownFields::Ignore => Ok(()),
        }
    }

    fn fill_missing(&self, columns: &mut Columns) -> Result<(), Reason> {
        for (index, field) in self.fields.iter().enumerate() {
            if !columns.is_set(index) {
                let constant = field.when_missing().ok_or(Reason::MissingField)?;
                columns.get(index).push_constant(constant);
            }
        }
        Ok(())
    }
}

/// The visitor of one object.
struct Record<'r> {
    reader: &'r JsonReader,
    columns: &'r mut Columns,
    /// Our own reason for an error, which the parser's error type cannot carry.
    refused: &'r mut Option<Reason>,
}

impl Record<'_> {
    /// Returns how many fields were unknown.
    fn read<'de, A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<u64, A::Error> {
        let mut known = 0;
        let mut unknown = 0;
        let mut expected = 0;
        while let Some(key) = map.next_key_seed(Key {
            names: &self.reader.names,
            expected,
        })? {
            let text = map.next_value::<&RawValue>()?.get();
            match key {
                Some(index) => {
                    let read = self.reader.read_field(index, text, self.columns);
                    self.check::<A>(read)?;
                    known += 1;
                    expected = index + 1;
                }
                None => {
                    let ignored = self.reader.ignore_field(text);
                    self.check::<A>(ignored)?;
                    unknown += 1;
                }
            }
        }
        if known < self.reader.fields.len() {
            let filled = self.reader.fill_missing(self.columns);
            self.check::<A>(filled)?;
        }
        Ok(unknown)
    }

    fn check<'de, A: MapAccess<'de>>(
        &mut self,
        result: Result<(), Reason>,
    ) -> Result<(), A::Error> {
        result.map_err(|reason| {
            *self.refused = Some(reason);
            A::Error::custom(reason.as_str())
        })
    }
}

impl<'de> Visitor<'de> for Record<'_> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<u64, A::Error> {
        self.read(&mut map)
    }
}

/// Finds the field that a key names.
struct Key<'r> {
    names: &'r Names,
    /// The field after the last one: producers repeat the order of the schema.
    expected: usize,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: serde::Deserializer<'de>>(self, key: D) -> Result<Option<usize>, D::Error> {
        key.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Option<usize>, E> {
        Ok(self.names.find(key, self.expected))
    }
}

/// Pushes a value, neither null nor nested, into a column.
fn push(text: &str, column: &mut Column) -> Result<(), Reason> {
    match column {
        Column::String(rows) => rows.push(&string(text)?),
        Column::Enum(symbols, rows) => {
            let symbol = string(text)?;
            if !symbols.contains(&symbol) {
                return Err(Reason::UnknownSymbol);
            }
            rows.push(&symbol);
        }
        Column::Int(rows) => rows.push(integer(text)?),
        Column::Long(rows) => rows.push(integer(text)?),
        Column::Float(rows) => rows.push(finite(float::<f32>(text)?, f32::is_finite)?),
        Column::Double(rows) => rows.push(finite(float::<f64>(text)?, f64::is_finite)?),
        Column::Boolean(rows) => rows.push(boolean(text)?),
        Column::Timestamp(unit, rows) => rows.push(timestamp(text, *unit)?),
        Column::Date(rows) => rows.push(date(text)?),
        Column::Decimal(kind, rows) => {
            let number = if is_string(text) {
                string(text)?
            } else {
                Cow::Borrowed(text)
            };
            rows.push(kind.from_text(&number).map_err(|fault| match fault {
                TextFault::NotANumber => Reason::WrongType,
                TextFault::OutOfRange => Reason::OutOfRange,
            })?);
        }
    }
    Ok(())
}

fn is_string(text: &str) -> bool {
    text.starts_with('"')
}

fn is_nested(text: &str) -> bool {
    text.starts_with(['{', '['])
}

fn is_number(text: &str) -> bool {
    text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

fn string(text: &str) -> Result<Cow<'_, str>, Reason> {
    if !is_string(text) {
        return Err(Reason::WrongType);
    }
    let inside = &text[1..text.len() - 1];
    if inside.as_bytes().contains(&b'\\') {
        // Refuses an escape that stands for no character: half of a surrogate pair.
        return serde_json::from_str(text)
            .map(Cow::Owned)
            .map_err(|_| Reason::Malformed);
    }
    Ok(Cow::Borrowed(inside))
}

/// A JSON number that does not parse has a point or an exponent, or does not fit.
fn integer<T: FromStr>(text: &str) -> Result<T, Reason> {
    text.parse().map_err(|_| {
        let is_whole = !text.contains(['.', 'e', 'E']);
        if is_number(text) && is_whole {
            Reason::OutOfRange
        } else {
            Reason::WrongType
        }
    })
}

/// Rounded to nearest. The words for what is not finite are no JSON, so they never come here.
fn float<T: FromStr>(text: &str) -> Result<T, Reason> {
    text.parse().map_err(|_| Reason::WrongType)
}

fn finite<T: Copy>(number: T, is_finite: impl Fn(T) -> bool) -> Result<T, Reason> {
    if is_finite(number) {
        Ok(number)
    } else {
        Err(Reason::OutOfRange)
    }
}

fn boolean(text: &str) -> Result<bool, Reason> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Reason::WrongType),
    }
}

fn timestamp(text: &str, unit: TimeUnit) -> Result<i64, Reason> {
    if !is_string(text) {
        return unit.to_micros(integer(text)?).ok_or(Reason::OutOfRange);
    }
    let time = DateTime::parse_from_rfc3339(&string(text)?).map_err(|_| Reason::WrongType)?;
    Ok(time.timestamp_micros())
}

fn date(text: &str) -> Result<i32, Reason> {
    if !is_string(text) {
        return integer(text);
    }
    let text = string(text)?;
    // Chrono also takes signs, blanks and short months, which are not ISO 8601.
    let is_iso = text.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    let date = text
        .parse::<NaiveDate>()
        .ok()
        .filter(|_| is_iso && text.len() == 10);
    date.map(|date| date.to_epoch_days())
        .ok_or(Reason::WrongType)
}

/// Whether objects and lists lie more than `limit` deep in `text`, which holds one value.
fn is_deeper(text: &str, limit: usize) -> bool {
    let mut depth = 0_usize;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
        if depth > limit {
            return true;
        }
    }
    false
}

fn skip_string(bytes: &mut std::str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
}
