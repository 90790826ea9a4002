//! The columns text: a line `name:kind` per column, in the order in which a row's cells follow.
//!
//! A verifier takes names, order and kinds from this text, whose digest each leaf holds, and never from
//! the file: what a file says of itself is what is to be checked.

use std::collections::HashSet;
use std::fmt;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Schema, TimeUnit};
use sha2::Digest as _;

use super::value::{self, Value};
use crate::record::Digest;

/// What the cells of a column hold, whatever the type in which a file stores it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Bool,
    Int,
    /// Days since 1970-01-01.
    Date,
    /// µs since 1970-01-01, UTC.
    Time,
    F32,
    F64,
    Text,
    Bytes,
    /// At most `precision` digits, 1 to 38, of which `scale` follow the point.
    Decimal {
        precision: u8,
        scale: u8,
    },
}

impl Kind {
    const SIMPLE: [(&'static str, Kind); 8] = [
        ("bool", Kind::Bool),
        ("int", Kind::Int),
        ("date", Kind::Date),
        ("time", Kind::Time),
        ("f32", Kind::F32),
        ("f64", Kind::F64),
        ("text", Kind::Text),
        ("bytes", Kind::Bytes),
    ];

    /// The kind of a column that Arrow gives this type. `None` for types that have no cell, among them
    /// times without a time zone: nobody knows when they were.
    #[must_use]
    pub fn of(data_type: &DataType) -> Option<Kind> {
        match data_type {
            DataType::Boolean => Some(Kind::Bool),
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Some(Kind::Int),
            DataType::Date32 => Some(Kind::Date),
            // Arrow counts from 1970 in UTC whatever zone is named: that is how to show it.
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Some(Kind::Time),
            DataType::Float32 => Some(Kind::F32),
            DataType::Float64 => Some(Kind::F64),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(Kind::Text),
            DataType::Dictionary(key, value)
                if **key == DataType::Int32 && **value == DataType::Utf8 =>
            {
                Some(Kind::Text)
            }
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Some(Kind::Bytes),
            DataType::Decimal128(precision, scale) => {
                Kind::decimal(*precision, u8::try_from(*scale).ok()?)
            }
            _ => None,
        }
    }

    fn decimal(precision: u8, scale: u8) -> Option<Kind> {
        let fits = (1..=DECIMAL128_MAX_PRECISION).contains(&precision) && scale <= precision;
        fits.then_some(Kind::Decimal { precision, scale })
    }

    fn parse(text: &str) -> Option<Kind> {
        if let Some((_, kind)) = Kind::SIMPLE.iter().find(|(name, _)| *name == text) {
            return Some(*kind);
        }
        let inner = text.strip_prefix("decimal(")?.strip_suffix(')')?;
        let (precision, scale) = inner.split_once(',')?;
        let kind = Kind::decimal(precision.parse().ok()?, scale.parse().ok()?)?;
        // One way to write it: neither `+9` nor `09`.
        (kind.to_string() == text).then_some(kind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Kind::Decimal { precision, scale } = self {
            return write!(f, "decimal({precision},{scale})");
        }
        let (name, _) = Kind::SIMPLE
            .iter()
            .find(|(_, kind)| kind == self)
            .expect("all but decimals are listed");
        f.write_str(name)
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
}

/// The columns of a row, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Columns {
    list: Vec<Column>,
    text: String,
    digest: Digest,
}

impl Columns {
    /// Those of rows of this schema.
    ///
    /// # Errors
    /// When a column is of a type that has no cell, or its name cannot stand in the text.
    pub fn of(schema: &Schema) -> Result<Columns, String> {
        let mut list = Vec::new();
        for field in schema.fields() {
            let name = field.name().clone();
            let kind =
                Kind::of(field.data_type()).ok_or_else(|| no_cell(&name, field.data_type()))?;
            list.push(Column { name, kind });
        }
        Columns::new(list)
    }

    /// Reads a columns text.
    ///
    /// # Errors
    /// When it is not one. Each list of columns has one text: nothing is forgiven.
    pub fn parse(text: &[u8]) -> Result<Columns, String> {
        let text = std::str::from_utf8(text).map_err(|_| "the columns text is not UTF-8")?;
        let lines = text
            .strip_suffix('\n')
            .ok_or("the columns text does not end with a newline")?;
        let mut list = Vec::new();
        for line in lines.split('\n') {
            let column = line.split_once(':').and_then(|(name, kind)| {
                let (name, kind) = (name.to_owned(), Kind::parse(kind)?);
                Some(Column { name, kind })
            });
            let column = column.ok_or_else(|| {
                format!("the columns text has the line {line:?}, which is not `name:kind`")
            })?;
            list.push(column);
        }
        Columns::new(list)
    }

    fn new(list: Vec<Column>) -> Result<Columns, String> {
        if list.is_empty() {
            return Err("there are no columns".into());
        }
        let mut names = HashSet::new();
        for Column { name, .. } in &list {
            if name.is_empty() || name.contains(|c: char| c == ':' || c.is_control()) {
                return Err(format!(
                    "the column name {name:?} is empty or has a colon or a control character"
                ));
            }
            if !names.insert(name) {
                return Err(format!("there are two columns {name:?}"));
            }
        }
        let line = |column: &Column| format!("{}:{}\n", column.name, column.kind);
        let text: String = list.iter().map(line).collect();
        let digest = Digest::of(text.as_bytes());
        Ok(Columns { list, text, digest })
    }

    #[must_use]
    pub fn list(&self) -> &[Column] {
        &self.list
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The SHA-256 of the text: the columns' name.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The leaf hash of a row with these cells.
    #[must_use]
    pub fn leaf(&self, cells: &[u8]) -> Digest {
        Digest(
            super::begin(self.digest)
                .chain_update(cells)
                .finalize()
                .into(),
        )
    }

    /// The values of a row with these cells, one per column.
    ///
    /// # Errors
    /// When they are not cells of these columns. Each row has one form: nothing is forgiven.
    pub fn decode(&self, cells: &[u8]) -> Result<Vec<Value>, String> {
        value::decode(&self.list, cells)
    }

    /// Where a file of this schema has the columns.
    pub(super) fn places(&self, schema: &Schema) -> Result<Vec<usize>, String> {
        let mut places = Vec::new();
        for Column { name, kind } in &self.list {
            let place = schema
                .index_of(name)
                .map_err(|_| format!("there is no column {name:?}"))?;
            let found = schema.field(place).data_type();
            match Kind::of(found) {
                Some(found) if found == *kind => places.push(place),
                Some(found) => {
                    return Err(format!(
                        "the column {name:?} is of {found}, and was of {kind}"
                    ));
                }
                None => return Err(no_cell(name, found)),
            }
        }
        let added = (0..schema.fields().len()).find(|place| !places.contains(place));
        match added {
            Some(added) => {
                let name = schema.field(added).name();
                Err(format!(
                    "there is a column {name:?} that the columns text has not"
                ))
            }
            None => Ok(places),
        }
    }
}

fn no_cell(name: &str, data_type: &DataType) -> String {
    format!("the column {name:?} is of type {data_type}, which no row can have")
}
