//! From the bytes of events to one Arrow batch, and a reason for each value that is none.
//!
//! Knows no Kafka, no offset and no model. Promises one row per value, in order: a value that is
//! refused becomes a row of nulls and a [`Rejection`], and never changes what its neighbours decode
//! to. No value, however made, panics, recurses or takes memory beyond a small multiple of its size.
//!
//! Both formats are read by code of our own into plain typed columns, because the streaming decoders
//! of Arrow lose good records with bad ones: after malformed text arrow-json stays broken and forgets
//! the rows before it, and arrow-avro continues a truncated message with the next one.

mod avro;
mod column;
mod json;
mod scan;

use arrow::array::RecordBatch;

use self::avro::{AvroReader, split_registry_header};
use self::column::Columns;
use self::json::JsonReader;
use crate::record::{Reason, Rejection, Stage};
use crate::schema::{Constant, Field, InputSchema, SchemaError};

/// How a value is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// One JSON object.
    Json,
    /// Avro's binary encoding of the input schema, bare.
    Avro,
    /// Avro after a schema registry's header: a zero byte and the schema's id in four bytes.
    AvroRegistry,
}

/// What to do with a field that the schema does not know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnknownFields {
    /// Pass over it, and count it.
    Ignore,
    /// JSON: refuse the record. Avro: refuse the writer's schema when the decoder is made.
    Reject,
}

/// How to decode.
#[derive(Clone, Debug)]
pub struct Settings {
    pub format: Format,
    pub unknown_fields: UnknownFields,
    /// The largest value that is looked at, in bytes.
    pub max_bytes: usize,
    /// How deep objects and lists may be nested in a JSON value that is skipped.
    pub max_depth: usize,
    /// The writer's schema of each registry id; only for [`Format::AvroRegistry`].
    pub registry: Vec<(u32, InputSchema)>,
}

/// Decodes batches of one input schema. Keeps nothing from one batch to the next.
pub struct Decoder {
    schema: InputSchema,
    max_bytes: usize,
    reader: Reader,
}

enum Reader {
    Json(JsonReader),
    Avro(AvroReader),
    /// One reader per schema id, sorted by id.
    Registry(Vec<(u32, AvroReader)>),
}

/// The rows of one batch of values.
#[derive(Debug)]
pub struct Decoded {
    /// One row per value, under [`InputSchema::arrow`]; all null where the value was refused.
    pub events: RecordBatch,
    /// As long as the batch.
    pub rejected: Vec<Option<Rejection>>,
    /// Fields that were passed over in the accepted records.
    pub unknown_fields: u64,
    /// In which rows some were passed over. As long as the batch.
    pub has_unknown: Vec<bool>,
}

impl Decoder {
    /// Fails where a writer's schema cannot be read as the input schema.
    pub fn new(schema: &InputSchema, settings: Settings) -> Result<Decoder, SchemaError> {
        let Settings {
            unknown_fields,
            max_bytes,
            max_depth,
            ..
        } = settings;
        let reader = match settings.format {
            Format::Json => Reader::Json(JsonReader::new(schema, unknown_fields, max_depth)),
            Format::Avro => Reader::Avro(AvroReader::new(schema, schema, unknown_fields)?),
            Format::AvroRegistry => {
                Reader::Registry(registry(schema, &settings.registry, unknown_fields)?)
            }
        };
        Ok(Decoder {
            schema: schema.clone(),
            max_bytes,
            reader,
        })
    }

    /// A decoder of bare Avro that `writer` wrote, for files that bring their schema along. The
    /// format and the registry of `settings` do not count.
    ///
    /// # Errors
    /// Where what `writer` writes cannot be read as `schema`.
    pub fn of_writer(
        schema: &InputSchema,
        writer: &InputSchema,
        settings: &Settings,
    ) -> Result<Decoder, SchemaError> {
        let reader = AvroReader::new(schema, writer, settings.unknown_fields)?;
        Ok(Decoder {
            schema: schema.clone(),
            max_bytes: settings.max_bytes,
            reader: Reader::Avro(reader),
        })
    }

    /// How many of `bytes` the bare Avro record at their beginning takes; `None` where they do not
    /// hold one, or the decoder is not one of bare Avro. What the record's values are does not
    /// matter here: [`Decoder::decode`] refuses those that must be refused.
    #[must_use]
    pub fn record_length(&self, bytes: &[u8]) -> Option<usize> {
        match &self.reader {
            Reader::Avro(reader) => reader.record_length(bytes),
            Reader::Json(_) | Reader::Registry(_) => None,
        }
    }

    /// Decodes one batch; `None` is a value that the record lacks.
    ///
    /// # Panics
    ///
    /// If one column of the batch comes to 2 GiB of text: the caller limits the bytes of a batch.
    pub fn decode<'a, I>(&self, values: I) -> Decoded
    where
        I: IntoIterator<Item = Option<&'a [u8]>>,
        I::IntoIter: ExactSizeIterator,
    {
        let values = values.into_iter();
        let mut columns = Columns::with_capacity(&self.schema, values.len());
        let mut rejected = Vec::with_capacity(values.len());
        let mut has_unknown = Vec::with_capacity(values.len());
        let mut unknown_fields = 0;
        for value in values {
            match self.decode_one(value, &mut columns) {
                Ok(unknown) => {
                    columns.accept_row();
                    rejected.push(None);
                    has_unknown.push(unknown > 0);
                    unknown_fields += unknown;
                }
                Err(reason) => {
                    columns.refuse_row();
                    rejected.push(Some(Rejection::new(Stage::Decode, reason)));
                    has_unknown.push(false);
                }
            }
        }
        let events = columns.into_batch(self.schema.arrow());
        assert_eq!(events.num_rows(), rejected.len(), "one row per value");
        Decoded {
            events,
            rejected,
            unknown_fields,
            has_unknown,
        }
    }

    /// Fills one row; returns how many unknown fields were passed over.
    fn decode_one(&self, value: Option<&[u8]>, columns: &mut Columns) -> Result<u64, Reason> {
        let value = value
            .filter(|value| !value.is_empty())
            .ok_or(Reason::EmptyValue)?;
        if value.len() > self.max_bytes {
            return Err(Reason::ValueTooLarge);
        }
        match &self.reader {
            Reader::Json(reader) => reader.read(value, columns),
            Reader::Avro(reader) => reader.read(value, columns),
            Reader::Registry(readers) => {
                let (id, value) = split_registry_header(value).ok_or(Reason::Malformed)?;
                let found = readers.binary_search_by_key(&id, |(id, _)| *id);
                let index = found.map_err(|_| Reason::UnknownSchema)?;
                readers[index].1.read(value, columns)
            }
        }
    }
}

/// `rows` rows of what stands for each field where an event lacks it; null too where it must not.
#[must_use]
pub fn missing(schema: &InputSchema, rows: usize) -> RecordBatch {
    let mut columns = Columns::with_capacity(schema, rows);
    for _ in 0..rows {
        for (index, field) in schema.fields().iter().enumerate() {
            let constant = field.when_missing().unwrap_or(&Constant::Null);
            columns.get(index).push_constant(constant);
        }
        columns.accept_row();
    }
    columns.into_batch(schema.arrow())
}

fn registry(
    schema: &InputSchema,
    writers: &[(u32, InputSchema)],
    unknown_fields: UnknownFields,
) -> Result<Vec<(u32, AvroReader)>, SchemaError> {
    let mut readers = Vec::with_capacity(writers.len());
    for (id, writer) in writers {
        let reader = AvroReader::new(schema, writer, unknown_fields).map_err(|error| {
            let problem = format!("as schema id {id}: {}", error.problem);
            SchemaError { problem, ..error }
        })?;
        readers.push((*id, reader));
    }
    readers.sort_by_key(|(id, _)| *id);
    match readers.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        None => Ok(readers),
        Some(pair) => Err(SchemaError::new(
            format!("the schema id {} is mapped twice", pair[0].0),
            "map each id to one file",
        )),
    }
}

/// Finds fields by name or alias.
struct Names {
    sorted: Vec<(String, usize)>,
}

impl Names {
    fn of(fields: &[Field]) -> Names {
        let mut sorted = Vec::new();
        for (index, field) in fields.iter().enumerate() {
            let names = std::iter::once(&field.name).chain(&field.aliases);
            sorted.extend(names.map(|name| (name.clone(), index)));
        }
        sorted.sort_unstable();
        Names { sorted }
    }

    fn find(&self, name: &str) -> Option<usize> {
        let found = self
            .sorted
            .binary_search_by(|(known, _)| known.as_str().cmp(name));
        found.ok().map(|at| self.sorted[at].1)
    }
}

#[cfg(test)]
mod tests;
