//! The input contract: one Avro record schema (`.avsc`) names every field of an event, and the Arrow
//! schema of the decoded batches follows from it.
//!
//! Knows no payload and no wire format. Promises that a schema which loads can be decoded: every type
//! that [`crate::decode`] cannot put into a column is refused here, with the file, the field and the
//! fix. Only flat records are accepted, because a column has no place for anything else.

mod decimal;
mod parse;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{self, DataType, SchemaRef};

pub use self::decimal::{Decimal, TextFault};
use crate::error::Fatal;
use crate::record::Digest;

/// The fields of an event, in the order of the file.
#[derive(Clone, Debug)]
pub struct InputSchema {
    fields: Vec<Field>,
    arrow: SchemaRef,
    digest: Digest,
    text: String,
    file: Option<PathBuf>,
}

/// One field of an event.
#[derive(Clone, PartialEq, Debug)]
pub struct Field {
    pub name: String,
    pub kind: FieldType,
    /// Whether the Avro type is a union with null.
    pub nullable: bool,
    /// Whether null is the first branch of that union, by which Avro numbers the branches.
    pub(crate) null_first: bool,
    /// Whether the field is about a person, and so must not reach the archive in clear.
    pub personal: bool,
    pub doc: Option<String>,
    /// Other names under which producers write this field.
    pub aliases: Vec<String>,
    default: Option<Constant>,
}

/// What a field holds, and how Avro writes it.
#[derive(Clone, PartialEq, Debug)]
pub enum FieldType {
    String,
    Int,
    Long,
    Float,
    Double,
    Boolean,
    /// Written in this unit; kept in microseconds.
    Timestamp(TimeUnit),
    /// Days since 1970-01-01.
    Date,
    Decimal(Decimal),
    Enum(Arc<Symbols>),
}

/// The unit in which a timestamp is written as an integer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeUnit {
    Millis,
    Micros,
}

/// The symbols of an enum.
#[derive(PartialEq, Debug)]
pub struct Symbols {
    in_order: Vec<String>,
    sorted: Vec<String>,
    /// What stands for a writer's symbol that is not listed.
    default: Option<String>,
}

/// A value that the schema itself gives, checked against the type of its field.
#[derive(Clone, PartialEq, Debug)]
pub enum Constant {
    Null,
    Text(String),
    Int(i32),
    /// Also a timestamp, in microseconds.
    Long(i64),
    Float(f32),
    Double(f64),
    Boolean(bool),
    Decimal(i128),
}

impl InputSchema {
    /// Reads and checks the schema in the file at `path`.
    pub fn load(path: &Path) -> Result<InputSchema, SchemaError> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            SchemaError::new(
                format!("cannot be read: {error}"),
                "name a readable UTF-8 file",
            )
        });
        text.and_then(|text| InputSchema::parse(&text))
            .map(|schema| InputSchema {
                file: Some(path.to_owned()),
                ..schema
            })
            .map_err(|error| error.in_file(path))
    }

    /// Checks the schema that `text` holds.
    pub fn parse(text: &str) -> Result<InputSchema, SchemaError> {
        let fields = parse::fields(text)?;
        // Every column may be null whatever the schema says: a rejected record is a row of nulls.
        let columns = fields
            .iter()
            .map(|field| datatypes::Field::new(field.name.as_str(), field.kind.arrow_type(), true));
        let arrow = Arc::new(datatypes::Schema::new(columns.collect::<Vec<_>>()));
        let digest = Digest::of(text.as_bytes());
        Ok(InputSchema {
            fields,
            arrow,
            digest,
            text: text.to_owned(),
            file: None,
        })
    }

    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    #[must_use]
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }

    /// The schema of a decoded batch: one nullable column per field, in the order of the file.
    #[must_use]
    pub fn arrow(&self) -> &SchemaRef {
        &self.arrow
    }

    /// SHA-256 of the bytes of the file.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The file that was loaded, for messages.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

impl Field {
    /// What stands for the field where a record lacks it; `None` where the record must be refused.
    #[must_use]
    pub fn when_missing(&self) -> Option<&Constant> {
        match &self.default {
            Some(default) => Some(default),
            None if self.nullable => Some(&Constant::Null),
            None => None,
        }
    }
}

impl FieldType {
    #[must_use]
    pub fn arrow_type(&self) -> DataType {
        match self {
            FieldType::String | FieldType::Enum(_) => DataType::Utf8,
            FieldType::Int => DataType::Int32,
            FieldType::Long => DataType::Int64,
            FieldType::Float => DataType::Float32,
            FieldType::Double => DataType::Float64,
            FieldType::Boolean => DataType::Boolean,
            FieldType::Timestamp(_) => {
                DataType::Timestamp(datatypes::TimeUnit::Microsecond, Some("UTC".into()))
            }
            FieldType::Date => DataType::Date32,
            FieldType::Decimal(decimal) => {
                DataType::Decimal128(decimal.precision(), decimal.scale())
            }
        }
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FieldType::String => "string",
            FieldType::Int => "int",
            FieldType::Long => "long",
            FieldType::Float => "float",
            FieldType::Double => "double",
            FieldType::Boolean => "boolean",
            FieldType::Timestamp(TimeUnit::Millis) => "timestamp-millis",
            FieldType::Timestamp(TimeUnit::Micros) => "timestamp-micros",
            FieldType::Date => "date",
            FieldType::Decimal(decimal) => {
                return write!(f, "decimal({}, {})", decimal.precision(), decimal.scale());
            }
            FieldType::Enum(_) => "enum",
        })
    }
}

impl TimeUnit {
    /// `time`, in this unit, as microseconds; `None` where these do not fit.
    #[must_use]
    pub fn to_micros(self, time: i64) -> Option<i64> {
        match self {
            TimeUnit::Millis => time.checked_mul(1000),
            TimeUnit::Micros => Some(time),
        }
    }
}

impl Symbols {
    fn new(in_order: Vec<String>, default: Option<String>) -> Symbols {
        let mut sorted = in_order.clone();
        sorted.sort_unstable();
        Symbols {
            in_order,
            sorted,
            default,
        }
    }

    #[must_use]
    pub fn contains(&self, symbol: &str) -> bool {
        self.sorted
            .binary_search_by(|known| known.as_str().cmp(symbol))
            .is_ok()
    }

    /// The symbols, in the order by which Avro numbers them.
    #[must_use]
    pub fn in_order(&self) -> &[String] {
        &self.in_order
    }

    #[must_use]
    pub fn default(&self) -> Option<&str> {
        self.default.as_deref()
    }
}

/// Why a schema was refused: where, what is wrong, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub struct SchemaError {
    pub file: Option<PathBuf>,
    pub field: Option<String>,
    pub problem: String,
    pub fix: String,
}

impl SchemaError {
    pub(crate) fn new(problem: impl Into<String>, fix: impl Into<String>) -> SchemaError {
        SchemaError {
            file: None,
            field: None,
            problem: problem.into(),
            fix: fix.into(),
        }
    }

    pub(crate) fn of_field(self, name: &str) -> SchemaError {
        SchemaError {
            field: Some(name.to_owned()),
            ..self
        }
    }

    pub(crate) fn in_file(self, path: &Path) -> SchemaError {
        SchemaError {
            file: Some(path.to_owned()),
            ..self
        }
    }
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("input schema")?;
        if let Some(file) = &self.file {
            write!(f, " {}", file.display())?;
        }
        if let Some(field) = &self.field {
            write!(f, ", field `{field}`")?;
        }
        write!(f, ": {}; {}", self.problem, self.fix)
    }
}

impl std::error::Error for SchemaError {}

impl From<SchemaError> for Fatal {
    fn from(error: SchemaError) -> Fatal {
        Fatal::usage(error.to_string())
    }
}

#[cfg(test)]
mod tests;
