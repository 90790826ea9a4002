//! One JSON object per record, written straight into the columns.
//!
//! The scanner cuts the text into keys and values; what a value means is decided here, by the type of
//! its field, from its text, so that no number passes through a rounding of the parser. (serde_json
//! reads 51.24817837550540468 one unit off in the last place unless it is built otherwise.)
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

use std::str::FromStr;

use chrono::{DateTime, NaiveDate};

use super::column::{Column, Columns};
use super::scan::{Kind, Scanner, Token};
use super::{Names, UnknownFields};
use crate::record::Reason;
use crate::schema::{Field, InputSchema, TextFault};

/// Decodes JSON objects of one schema.
pub(super) struct JsonReader {
    fields: Vec<Field>,
    /// As they stand in the text, unless they are escaped.
    quoted_names: Vec<String>,
    names: Names,
    unknown_fields: UnknownFields,
    max_depth: usize,
}

impl JsonReader {
    pub fn new(schema: &InputSchema, unknown_fields: UnknownFields, max_depth: usize) -> Self {
        let fields = schema.fields().to_vec();
        let quoted_names = fields
            .iter()
            .map(|field| format!("\"{}\"", field.name))
            .collect();
        let names = Names::of(&fields);
        JsonReader {
            fields,
            quoted_names,
            names,
            unknown_fields,
            max_depth,
        }
    }

    /// Fills one row; returns how many unknown fields were ignored. On error the row is unfinished.
    pub fn read(&self, value: &[u8], columns: &mut Columns) -> Result<u64, Reason> {
        let text = std::str::from_utf8(value).map_err(|_| Reason::NotUtf8)?;
        let mut scanner = Scanner::new(text, self.max_depth);
        if !scanner.open_object() {
            return Err(not_an_object(scanner));
        }
        let unknown = self.read_fields(&mut scanner, columns)?;
        scanner.end()?;
        Ok(unknown)
    }

    fn read_fields(&self, scanner: &mut Scanner, columns: &mut Columns) -> Result<u64, Reason> {
        let mut known = 0;
        let mut unknown = 0;
        // The field after the last one: producers repeat the order of the schema.
        let mut expected = 0;
        while scanner.has_key(known + unknown == 0)? {
            let field = self.read_key(scanner, expected)?;
            let token = scanner.value()?;
            match field {
                Some(index) => {
                    self.read_field(index, token, columns)?;
                    known += 1;
                    expected = index + 1;
                }
                None if self.unknown_fields == UnknownFields::Reject => {
                    return Err(Reason::UnknownField);
                }
                None => unknown += 1,
            }
        }
        if known < self.fields.len() {
            self.fill_missing(columns)?;
        }
        Ok(unknown as u64)
    }

    fn read_key(&self, scanner: &mut Scanner, expected: usize) -> Result<Option<usize>, Reason> {
        if let Some(quoted) = self.quoted_names.get(expected)
            && scanner.take_key(quoted)?
        {
            return Ok(Some(expected));
        }
        let key = scanner.key()?.unescaped()?;
        Ok(self.names.find(&key))
    }

    fn read_field(&self, index: usize, token: Token, columns: &mut Columns) -> Result<(), Reason> {
        if columns.is_set(index) {
            return Err(Reason::Malformed);
        }
        let column = columns.get(index);
        match token.kind {
            Kind::Null if self.fields[index].nullable => column.push_null(),
            Kind::Null => return Err(Reason::MissingField),
            _ => push(token, column)?,
        }
        Ok(())
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

/// Why a text that does not begin as an object is refused.
fn not_an_object(mut scanner: Scanner<'_>) -> Reason {
    match scanner.value().and_then(|_| scanner.end()) {
        Ok(()) => Reason::WrongType,
        Err(reason) => reason,
    }
}

/// Pushes a value that is not null into a column.
fn push(token: Token<'_>, column: &mut Column) -> Result<(), Reason> {
    use Kind::{Escaped, False, Number, Plain, True};
    match (column, token.kind) {
        (Column::String(rows), Plain | Escaped) => rows.push(&token.unescaped()?),
        (Column::Enum(symbols, rows), Plain | Escaped) => {
            let symbol = token.unescaped()?;
            if !symbols.contains(&symbol) {
                return Err(Reason::UnknownSymbol);
            }
            rows.push(&symbol);
        }
        (Column::Int(rows), Number) => rows.push(integer(token.text)?),
        (Column::Long(rows), Number) => rows.push(integer(token.text)?),
        (Column::Float(rows), Number) => rows.push(float(token.text, f32::is_finite)?),
        (Column::Double(rows), Number) => rows.push(float(token.text, f64::is_finite)?),
        (Column::Boolean(rows), True) => rows.push(true),
        (Column::Boolean(rows), False) => rows.push(false),
        (Column::Timestamp(unit, rows), Number) => {
            rows.push(
                unit.to_micros(integer(token.text)?)
                    .ok_or(Reason::OutOfRange)?,
            );
        }
        (Column::Timestamp(_, rows), Plain | Escaped) => {
            rows.push(timestamp(&token.unescaped()?)?);
        }
        (Column::Date(rows), Number) => rows.push(integer(token.text)?),
        (Column::Date(rows), Plain | Escaped) => rows.push(date(&token.unescaped()?)?),
        (Column::Decimal(kind, rows), Number) => {
            rows.push(kind.from_text(token.text).map_err(reason)?);
        }
        (Column::Decimal(kind, rows), Plain | Escaped) => {
            rows.push(kind.from_text(&token.unescaped()?).map_err(reason)?);
        }
        _ => return Err(Reason::WrongType),
    }
    Ok(())
}

fn reason(fault: TextFault) -> Reason {
    match fault {
        TextFault::NotANumber => Reason::WrongType,
        TextFault::OutOfRange => Reason::OutOfRange,
    }
}

/// A JSON number that does not parse has a point or an exponent, or does not fit.
fn integer<T: FromStr>(number: &str) -> Result<T, Reason> {
    number.parse().map_err(|_| {
        let is_whole = !number.contains(['.', 'e', 'E']);
        if is_whole {
            Reason::OutOfRange
        } else {
            Reason::WrongType
        }
    })
}

/// Rounded to nearest.
fn float<T: FromStr + Copy>(number: &str, is_finite: fn(T) -> bool) -> Result<T, Reason> {
    let parsed = number.parse().ok().filter(|float| is_finite(*float));
    parsed.ok_or(Reason::OutOfRange)
}

fn timestamp(text: &str) -> Result<i64, Reason> {
    let time = DateTime::parse_from_rfc3339(text).map_err(|_| Reason::WrongType)?;
    Ok(time.timestamp_micros())
}

fn date(text: &str) -> Result<i32, Reason> {
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
