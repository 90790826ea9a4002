//! Rows as one Arrow IPC record batch, fast for few rows of many columns.
//!
//! What Arrow's own writer writes of a batch is the same for all batches of a schema but for some
//! numbers. So it writes one, at first; each later one is a copy of that with its numbers put in, and
//! the values after it. The bytes are those that Arrow's writer gives; the tests hold them to that. At
//! 2,000 events a second a message has a few rows of some eighty columns, and most of a lane's time
//! went into building the same metadata again and again.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray as _, RecordBatch, new_null_array};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type,
    Int32Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType, ToByteSlice as _,
};
use arrow::error::ArrowError;
use arrow::ipc::writer::{IpcWriteOptions, StreamEncoder};
use arrow::ipc::{self, MetadataVersion, root_as_message};

/// Every buffer starts at a multiple of it. Arrow's default, 64, more than doubles a message of one row.
const ALIGNMENT: usize = 8;

/// A marker, and the length of the metadata that follows.
const PREFIX: usize = 8;

/// Writes record batches of one schema.
pub(super) struct Encoder {
    /// The metadata of a message, with its prefix.
    template: Vec<u8>,
    /// Where its numbers stand: the length of the body,
    body_length: usize,
    /// the number of rows,
    rows: usize,
    /// for each column the number of rows and of nulls,
    nodes: usize,
    /// for each buffer where it begins in the body, and its length.
    buffers: usize,
}

impl Encoder {
    /// # Errors
    /// When a column is of a type that evidence does not have.
    pub fn new(schema: &Schema) -> Result<Encoder, ArrowError> {
        let fields = schema.fields().iter();
        if let Some(field) = fields.clone().find(|field| !is_known(field.data_type())) {
            let message = format!("evidence has no columns of type {}", field.data_type());
            return Err(ArrowError::NotYetImplemented(message));
        }
        let nullable =
            fields.map(|field| Field::new(field.name(), field.data_type().clone(), true));
        let schema = Arc::new(Schema::new(nullable.collect::<Vec<_>>()));
        // One row: a number that is zero would be left out of the metadata.
        let columns = schema
            .fields()
            .iter()
            .map(|field| new_null_array(field.data_type(), 1));
        let message = arrows_own(&RecordBatch::try_new(schema.clone(), columns.collect())?)?;
        let length = u32::from_le_bytes([message[4], message[5], message[6], message[7]]) as usize;
        let template = message[..PREFIX + length].to_vec();
        let broken = || ArrowError::IpcError("a record batch without its parts".to_owned());
        let root = root_as_message(&template[PREFIX..]).map_err(|_| broken())?;
        let batch = root.header_as_record_batch().ok_or_else(broken)?;
        let (nodes, buffers) = batch.nodes().zip(batch.buffers()).ok_or_else(broken)?;
        let place = |part: &[u8]| part.as_ptr() as usize - template.as_ptr() as usize;
        let body_length = root._tab.vtable().get(ipc::Message::VT_BODYLENGTH);
        let rows = batch._tab.vtable().get(ipc::RecordBatch::VT_LENGTH);
        Ok(Encoder {
            body_length: PREFIX + root._tab.loc() + usize::from(body_length),
            rows: PREFIX + batch._tab.loc() + usize::from(rows),
            nodes: place(nodes.bytes()),
            buffers: place(buffers.bytes()),
            template,
        })
    }

    /// Adds a message with some rows of a batch to `out`.
    ///
    /// # Panics
    /// When the batch has not the columns of the schema.
    pub fn encode(&self, batch: &RecordBatch, rows: Range<usize>, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.template);
        let mut message = Message {
            start,
            body: out.len(),
            node: start + self.nodes,
            buffer: start + self.buffers,
            out,
        };
        for column in batch.columns() {
            message.column(column, rows.clone());
        }
        let body_length = message.out.len() - message.body;
        put(out, start + self.rows, rows.len());
        put(out, start + self.body_length, body_length);
    }
}

/// A message that is being written.
struct Message<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    body: usize,
    /// Where the next column's numbers go, and the next buffer's.
    node: usize,
    buffer: usize,
}

impl Message<'_> {
    fn column(&mut self, column: &ArrayRef, rows: Range<usize>) {
        let len = rows.len();
        let nulls = column.nulls().map(|nulls| nulls.slice(rows.start, len));
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        put(self.out, self.node, len);
        put(
            self.out,
            self.node + 8,
            nulls.as_ref().map_or(0, NullBuffer::null_count),
        );
        self.node += 16;
        match nulls {
            Some(nulls) => self.bytes(&nulls.inner().sliced()),
            None => self.bytes(&[]),
        }
        match column.data_type() {
            DataType::Utf8 => self.text(column, rows),
            DataType::Boolean => {
                let values = column.as_boolean().values();
                let bits: Buffer = values.slice(rows.start, len).sliced();
                self.bytes(&bits);
            }
            DataType::Int32 => self.numbers::<Int32Type>(column, rows),
            DataType::Int64 => self.numbers::<Int64Type>(column, rows),
            DataType::Float32 => self.numbers::<Float32Type>(column, rows),
            DataType::Float64 => self.numbers::<Float64Type>(column, rows),
            DataType::Date32 => self.numbers::<Date32Type>(column, rows),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                self.numbers::<TimestampMicrosecondType>(column, rows);
            }
            DataType::Decimal128(..) => self.numbers::<Decimal128Type>(column, rows),
            DataType::FixedSizeBinary(_) => self.fixed_size(column, rows),
            other => unreachable!("a column of type {other}: refused with the schema"),
        }
    }

    fn numbers<T: ArrowPrimitiveType>(&mut self, column: &ArrayRef, rows: Range<usize>) {
        self.bytes(column.as_primitive::<T>().values()[rows].to_byte_slice());
    }

    fn fixed_size(&mut self, column: &ArrayRef, rows: Range<usize>) {
        let column = column.as_fixed_size_binary();
        let size = usize::try_from(column.value_length()).expect("a size is not negative");
        self.bytes(&column.value_data()[rows.start * size..rows.end * size]);
    }

    fn text(&mut self, column: &ArrayRef, rows: Range<usize>) {
        let column = column.as_string::<i32>();
        let offsets = &column.value_offsets()[rows.start..=rows.end];
        let (first, last) = (offsets[0], offsets[rows.len()]);
        let from = self.out.len();
        self.out.extend(
            offsets
                .iter()
                .flat_map(|offset| (offset - first).to_le_bytes()),
        );
        self.end_buffer(from);
        self.bytes(&column.value_data()[first as usize..last as usize]);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let from = self.out.len();
        self.out.extend_from_slice(bytes);
        self.end_buffer(from);
    }

    /// What was written from `from` on is a buffer.
    fn end_buffer(&mut self, from: usize) {
        let len = self.out.len() - from;
        put(self.out, self.buffer, from - self.body);
        put(self.out, self.buffer + 8, len);
        self.buffer += 16;
        let end = self.out.len() - self.start;
        self.out
            .resize(self.start + end.next_multiple_of(ALIGNMENT), 0);
    }
}

fn put(out: &mut [u8], place: usize, number: usize) {
    let number = i64::try_from(number).expect("a message is far smaller");
    out[place..place + 8].copy_from_slice(&number.to_le_bytes());
}

/// Whether evidence may have such a column.
fn is_known(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Utf8
            | DataType::Boolean
            | DataType::Int32
            | DataType::Int64
            | DataType::Float32
            | DataType::Float64
            | DataType::Date32
            | DataType::Timestamp(TimeUnit::Microsecond, _)
            | DataType::Decimal128(..)
            | DataType::FixedSizeBinary(_)
    )
}

/// A batch as Arrow's own writer writes it.
fn arrows_own(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let options = IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5)?;
    let mut encoder = StreamEncoder::try_new_with_options(&batch.schema(), options)?;
    // The first call writes the schema as well.
    encoder.encode(&RecordBatch::new_empty(batch.schema()))?;
    let buffers = encoder.encode(batch)?;
    Ok(buffers
        .iter()
        .flat_map(|buffer| buffer.iter().copied())
        .collect())
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryBuilder, Float32Array,
        Float64Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
    };
    use proptest::prelude::*;

    use super::*;

    /// A column of each type; `None` is a null.
    fn batch(values: &[Option<i32>]) -> RecordBatch {
        let texts = values
            .iter()
            .map(|value| value.map(|value| "é".repeat(value as usize % 9)));
        let money = Decimal128Array::from_iter(values.iter().map(|v| v.map(i128::from)));
        // Five bytes: no value of its own is aligned.
        let mut bytes = FixedSizeBinaryBuilder::new(5);
        for value in values {
            match value {
                Some(value) => bytes
                    .append_value([&value.to_le_bytes()[..], b"-"].concat())
                    .unwrap(),
                None => bytes.append_null(),
            }
        }
        let times: TimestampMicrosecondArray = values.iter().map(|v| v.map(i64::from)).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(texts.collect::<StringArray>()),
            Arc::new(
                values
                    .iter()
                    .map(|v| v.map(|v| v % 2 == 0))
                    .collect::<BooleanArray>(),
            ),
            Arc::new(Int32Array::from_iter(values.iter().copied())),
            Arc::new(
                values
                    .iter()
                    .map(|v| v.map(i64::from))
                    .collect::<Int64Array>(),
            ),
            Arc::new(
                values
                    .iter()
                    .map(|v| v.map(|v| v as f32))
                    .collect::<Float32Array>(),
            ),
            Arc::new(
                values
                    .iter()
                    .map(|v| v.map(f64::from))
                    .collect::<Float64Array>(),
            ),
            Arc::new(Date32Array::from_iter(values.iter().copied())),
            Arc::new(times.with_timezone("UTC")),
            Arc::new(money.with_precision_and_scale(12, 2).unwrap()),
            Arc::new(bytes.finish()),
        ];
        let name = |i: usize| format!("column {i}");
        let fields = columns.iter().enumerate();
        let fields = fields.map(|(i, it)| Field::new(name(i), it.data_type().clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        RecordBatch::try_new(schema, columns).unwrap()
    }

    proptest! {
        #[test]
        fn the_bytes_are_those_of_arrows_own_writer(
            values in prop::collection::vec(prop::option::weighted(0.8, 0..i32::MAX), 1..40),
            cut in any::<(prop::sample::Index, prop::sample::Index)>(),
        ) {
            let batch = batch(&values);
            let start = cut.0.index(values.len());
            let end = start + 1 + cut.1.index(values.len() - start);
            let encoder = Encoder::new(&batch.schema()).unwrap();
            let mut bytes = b"before".to_vec();
            encoder.encode(&batch, start..end, &mut bytes);
            let expected = arrows_own(&batch.slice(start, end - start)).unwrap();
            prop_assert_eq!(&bytes[..6], b"before");
            prop_assert_eq!(&bytes[6..], &expected[..]);
            // A lane hands over a slice of its batch.
            let mut of_slice = Vec::new();
            encoder.encode(&batch.slice(start, end - start), 0..end - start, &mut of_slice);
            prop_assert_eq!(of_slice, expected);
        }
    }

    #[test]
    fn a_type_that_evidence_does_not_have_is_refused() {
        let schema = Schema::new(vec![Field::new("a", DataType::Binary, true)]);
        let error = Encoder::new(&schema).err().unwrap().to_string();
        assert!(error.contains("Binary"), "{error}");
    }
}
