//! The columns of a batch while its records arrive: typed vectors that grow by one row at a time.
//!
//! Knows no wire format. Promises that a refused record leaves no trace but a row of nulls: whatever
//! part of it was already pushed is cut off again, so its neighbours never notice. The vectors
//! become Arrow arrays without a copy.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, PrimitiveArray, RecordBatch, StringArray};
use arrow::array::{BooleanBufferBuilder, RecordBatchOptions};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type,
    SchemaRef, TimestampMicrosecondType,
};

use crate::schema::{Constant, Decimal, FieldType, InputSchema, Symbols, TimeUnit};

/// What a text column reserves per row before it has to grow.
const TEXT_BYTES_GUESS: usize = 16;

/// All columns of a batch.
pub(super) struct Columns {
    columns: Vec<Column>,
    rows: usize,
}

impl Columns {
    /// Columns that hold `rows` rows without growing, texts perhaps excepted.
    pub fn with_capacity(schema: &InputSchema, rows: usize) -> Columns {
        let columns = schema
            .fields()
            .iter()
            .map(|field| Column::with_capacity(&field.kind, rows));
        Columns {
            columns: columns.collect(),
            rows: 0,
        }
    }

    pub fn get(&mut self, index: usize) -> &mut Column {
        &mut self.columns[index]
    }

    /// Whether the row that is being filled already has a value, or a null, in this column.
    pub fn is_set(&self, index: usize) -> bool {
        self.columns[index].len() > self.rows
    }

    /// Ends a row that was filled in every column.
    pub fn accept_row(&mut self) {
        self.rows += 1;
        debug_assert!(self.columns.iter().all(|column| column.len() == self.rows));
    }

    /// Replaces whatever was filled in of this row by nulls, and ends it.
    pub fn refuse_row(&mut self) {
        for column in &mut self.columns {
            column.truncate(self.rows);
            column.push_null();
        }
        self.rows += 1;
    }

    pub fn into_batch(self, schema: &SchemaRef) -> RecordBatch {
        let arrays = self.columns.into_iter().map(Column::into_array).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        RecordBatch::try_new_with_options(schema.clone(), arrays, &options)
            .expect("the columns were made from this schema and every row has a value in each")
    }
}

/// One column, with what its field's type says of the values.
pub(super) enum Column {
    String(Texts),
    Enum(Arc<Symbols>, Texts),
    Int(Numbers<Int32Type>),
    Long(Numbers<Int64Type>),
    Float(Numbers<Float32Type>),
    Double(Numbers<Float64Type>),
    Boolean(Flags),
    /// The unit is that of the input; the values are microseconds.
    Timestamp(TimeUnit, Numbers<TimestampMicrosecondType>),
    Date(Numbers<Date32Type>),
    Decimal(Decimal, Numbers<Decimal128Type>),
}

/// The same expression for the rows of every kind of column.
macro_rules! each {
    ($column:expr, $rows:ident => $do:expr) => {
        match $column {
            Column::String($rows) | Column::Enum(_, $rows) => $do,
            Column::Int($rows) => $do,
            Column::Long($rows) => $do,
            Column::Float($rows) => $do,
            Column::Double($rows) => $do,
            Column::Boolean($rows) => $do,
            Column::Timestamp(_, $rows) => $do,
            Column::Date($rows) => $do,
            Column::Decimal(_, $rows) => $do,
        }
    };
}

impl Column {
    fn with_capacity(kind: &FieldType, rows: usize) -> Column {
        match kind {
            FieldType::String => Column::String(Texts::with_capacity(rows)),
            FieldType::Enum(symbols) => Column::Enum(symbols.clone(), Texts::with_capacity(rows)),
            FieldType::Int => Column::Int(Numbers::with_capacity(rows)),
            FieldType::Long => Column::Long(Numbers::with_capacity(rows)),
            FieldType::Float => Column::Float(Numbers::with_capacity(rows)),
            FieldType::Double => Column::Double(Numbers::with_capacity(rows)),
            FieldType::Boolean => Column::Boolean(Flags::with_capacity(rows)),
            FieldType::Timestamp(unit) => Column::Timestamp(*unit, Numbers::with_capacity(rows)),
            FieldType::Date => Column::Date(Numbers::with_capacity(rows)),
            FieldType::Decimal(kind) => Column::Decimal(*kind, Numbers::with_capacity(rows)),
        }
    }

    pub fn push_null(&mut self) {
        each!(self, rows => rows.push_null());
    }

    pub fn push_constant(&mut self, constant: &Constant) {
        match (self, constant) {
            (column, Constant::Null) => column.push_null(),
            (Column::String(rows) | Column::Enum(_, rows), Constant::Text(text)) => rows.push(text),
            (Column::Int(rows), Constant::Int(number)) => rows.push(*number),
            (Column::Date(rows), Constant::Int(days)) => rows.push(*days),
            (Column::Long(rows), Constant::Long(number)) => rows.push(*number),
            (Column::Timestamp(_, rows), Constant::Long(micros)) => rows.push(*micros),
            (Column::Float(rows), Constant::Float(number)) => rows.push(*number),
            (Column::Double(rows), Constant::Double(number)) => rows.push(*number),
            (Column::Boolean(rows), Constant::Boolean(flag)) => rows.push(*flag),
            (Column::Decimal(_, rows), Constant::Decimal(unscaled)) => rows.push(*unscaled),
            _ => unreachable!("the schema checked the constant against the type of its field"),
        }
    }

    fn len(&self) -> usize {
        each!(self, rows => rows.len())
    }

    fn truncate(&mut self, rows_kept: usize) {
        each!(self, rows => rows.truncate(rows_kept));
    }

    fn into_array(self) -> ArrayRef {
        match self {
            Column::String(rows) | Column::Enum(_, rows) => Arc::new(rows.into_array()),
            Column::Int(rows) => Arc::new(rows.into_array()),
            Column::Long(rows) => Arc::new(rows.into_array()),
            Column::Float(rows) => Arc::new(rows.into_array()),
            Column::Double(rows) => Arc::new(rows.into_array()),
            Column::Boolean(rows) => Arc::new(rows.into_array()),
            Column::Timestamp(_, rows) => Arc::new(rows.into_array().with_timezone("UTC")),
            Column::Date(rows) => Arc::new(rows.into_array()),
            Column::Decimal(kind, rows) => Arc::new(
                rows.into_array()
                    .with_precision_and_scale(kind.precision(), kind.scale())
                    .expect("the schema checked precision and scale"),
            ),
        }
    }
}

/// The rows of a column that hold null, in order: a value that is there costs nothing here.
#[derive(Default)]
struct Nulls {
    rows: Vec<usize>,
}

impl Nulls {
    fn push(&mut self, row: usize) {
        self.rows.push(row);
    }

    fn truncate(&mut self, rows: usize) {
        while self.rows.last().is_some_and(|last| *last >= rows) {
            self.rows.pop();
        }
    }

    fn into_buffer(self, rows: usize) -> Option<NullBuffer> {
        if self.rows.is_empty() {
            return None;
        }
        let mut validity = BooleanBufferBuilder::new(rows);
        validity.append_n(rows, true);
        self.rows
            .iter()
            .for_each(|row| validity.set_bit(*row, false));
        Some(NullBuffer::new(validity.build()))
    }
}

/// Values of one fixed width.
pub(super) struct Numbers<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    nulls: Nulls,
}

impl<T: ArrowPrimitiveType> Numbers<T> {
    fn with_capacity(rows: usize) -> Self {
        Numbers {
            values: Vec::with_capacity(rows),
            nulls: Nulls::default(),
        }
    }

    pub fn push(&mut self, value: T::Native) {
        self.values.push(value);
    }

    fn push_null(&mut self) {
        self.nulls.push(self.len());
        self.values.push(T::default_value());
    }

    fn len(&self) -> usize {
        self.values.len()
    }

    fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
        self.nulls.truncate(rows);
    }

    fn into_array(self) -> PrimitiveArray<T> {
        let nulls = self.nulls.into_buffer(self.values.len());
        PrimitiveArray::new(ScalarBuffer::from(self.values), nulls)
    }
}

/// Texts, end to end, with the offset at which each ends.
pub(super) struct Texts {
    bytes: Vec<u8>,
    offsets: Vec<i32>,
    nulls: Nulls,
}

impl Texts {
    fn with_capacity(rows: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        let bytes = Vec::with_capacity(rows * TEXT_BYTES_GUESS);
        Texts {
            bytes,
            offsets,
            nulls: Nulls::default(),
        }
    }

    pub fn push(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
        self.end_value();
    }

    fn push_null(&mut self) {
        self.nulls.push(self.len());
        self.end_value();
    }

    fn end_value(&mut self) {
        let end = i32::try_from(self.bytes.len()).expect("a batch holds less than 2 GiB of text");
        self.offsets.push(end);
    }

    fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        let end = *self
            .offsets
            .last()
            .expect("the first offset is never cut off");
        self.bytes
            .truncate(usize::try_from(end).expect("offsets are lengths"));
        self.nulls.truncate(rows);
    }

    fn into_array(self) -> StringArray {
        let rows = self.len();
        let nulls = self.nulls.into_buffer(rows);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        // Checks once more that all of it is UTF-8.
        StringArray::new(offsets, Buffer::from_vec(self.bytes), nulls)
    }
}

/// True and false.
pub(super) struct Flags {
    values: BooleanBufferBuilder,
    nulls: Nulls,
}

impl Flags {
    fn with_capacity(rows: usize) -> Self {
        Flags {
            values: BooleanBufferBuilder::new(rows),
            nulls: Nulls::default(),
        }
    }

    pub fn push(&mut self, value: bool) {
        self.values.append(value);
    }

    fn push_null(&mut self) {
        self.nulls.push(self.len());
        self.values.append(false);
    }

    fn len(&self) -> usize {
        self.values.len()
    }

    fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
        self.nulls.truncate(rows);
    }

    fn into_array(self) -> BooleanArray {
        let nulls = self.nulls.into_buffer(self.values.len());
        BooleanArray::new(self.values.build(), nulls)
    }
}
