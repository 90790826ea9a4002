//! Values from cells: what a proof's row says, read from nothing but the bytes that were hashed.
//!
//! Takes any bytes, whoever wrote them. Whatever it accepts has no second form, so two rows that read alike
//! are the same leaf.

use std::fmt;

use chrono::{DateTime, SecondsFormat};

use super::cells::{NAN_F32, NAN_F64};
use super::columns::{Column, Kind};

/// The value of a cell. Shows itself on one line, without control characters.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    /// Days since 1970-01-01.
    Date(i32),
    /// µs since 1970-01-01, UTC.
    Time(i64),
    F32(f32),
    F64(f64),
    Text(String),
    Bytes(Vec<u8>),
    /// `unscaled` · 10^-`scale`.
    Decimal {
        unscaled: i128,
        scale: u8,
    },
}

/// The values of a row of these columns.
pub fn decode(columns: &[Column], cells: &[u8]) -> Result<Vec<Value>, String> {
    let mut rest = Rest(cells);
    let mut values = Vec::new();
    for Column { name, kind } in columns {
        let value = rest.cell(*kind);
        values.push(value.map_err(|error| format!("the cell of column {name:?} {error}"))?);
    }
    match rest.0.len() {
        0 => Ok(values),
        more => Err(format!("{more} bytes follow the last cell")),
    }
}

/// What was not read yet.
struct Rest<'a>(&'a [u8]);

type Read<T> = Result<T, &'static str>;

impl<'a> Rest<'a> {
    fn cell(&mut self, kind: Kind) -> Read<Value> {
        match self.array()? {
            [0] => Ok(Value::Null),
            [1] => self.value(kind),
            _ => Err("is neither null nor a value"),
        }
    }

    fn value(&mut self, kind: Kind) -> Read<Value> {
        match kind {
            Kind::Bool => match self.array()? {
                [0] => Ok(Value::Bool(false)),
                [1] => Ok(Value::Bool(true)),
                _ => Err("is neither false nor true"),
            },
            Kind::Int => Ok(Value::Int(i64::from_be_bytes(self.array()?))),
            Kind::Date => i32::try_from(i64::from_be_bytes(self.array()?))
                .map(Value::Date)
                .map_err(|_| "is too far a date"),
            Kind::Time => Ok(Value::Time(i64::from_be_bytes(self.array()?))),
            Kind::F32 => match f32::from_be_bytes(self.array()?) {
                number if number.is_nan() && number.to_bits() != NAN_F32 => Err(OTHER_NAN),
                number => Ok(Value::F32(number)),
            },
            Kind::F64 => match f64::from_be_bytes(self.array()?) {
                number if number.is_nan() && number.to_bits() != NAN_F64 => Err(OTHER_NAN),
                number => Ok(Value::F64(number)),
            },
            Kind::Text => String::from_utf8(self.prefixed()?.to_vec())
                .map(Value::Text)
                .map_err(|_| "is not UTF-8"),
            Kind::Bytes => Ok(Value::Bytes(self.prefixed()?.to_vec())),
            Kind::Decimal { precision, scale } => {
                let unscaled = i128::from_be_bytes(self.array()?);
                match unscaled.unsigned_abs() < 10_u128.pow(precision.into()) {
                    true => Ok(Value::Decimal { unscaled, scale }),
                    false => Err("has too many digits"),
                }
            }
        }
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk().ok_or(CUT_OFF)?;
        self.0 = rest;
        Ok(*first)
    }

    fn prefixed(&mut self) -> Read<&'a [u8]> {
        let length = u32::from_be_bytes(self.array()?);
        let length = usize::try_from(length).map_err(|_| CUT_OFF)?;
        let (first, rest) = self.0.split_at_checked(length).ok_or(CUT_OFF)?;
        self.0 = rest;
        Ok(first)
    }
}

const CUT_OFF: &str = "is cut off";
const OTHER_NAN: &str = "is another NaN than the one that is written";

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            Value::Date(days) => match chrono::NaiveDate::from_epoch_days(*days) {
                Some(date) => write!(f, "{date}"),
                None => write!(f, "day {days}"),
            },
            Value::Time(micros) => match DateTime::from_timestamp_micros(*micros) {
                Some(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::Micros, true)),
                None => write!(f, "{micros} µs"),
            },
            // The shortest number that reads back to the same bits.
            Value::F32(value) => write!(f, "{value:?}"),
            Value::F64(value) => write!(f, "{value:?}"),
            Value::Text(text) => write!(f, "{text:?}"),
            Value::Bytes(bytes) => {
                f.write_str("0x")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Value::Decimal { unscaled, scale } => decimal(f, *unscaled, (*scale).into()),
        }
    }
}

fn decimal(f: &mut fmt::Formatter<'_>, unscaled: i128, scale: usize) -> fmt::Result {
    let sign = if unscaled < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    match scale {
        0 => write!(f, "{sign}{whole}"),
        _ => write!(f, "{sign}{whole}.{fraction}"),
    }
}
