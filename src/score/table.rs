//! Events out of a Parquet file: its columns, by name, as the columns of the input schema.
//!
//! Promises what decoding promises: one row for each row of the file, and a row of nulls with a
//! reason where a value must be refused. A value is read only if the schema's type holds it exactly.
//! A column that is missing is an error, unless the schema has something to stand for it or marks it
//! personal: an archive leaves those out.

use std::fs::File;
use std::path::Path;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::nullif;
use arrow::datatypes::Schema;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::Compression;
use parquet::file::metadata::ParquetMetaData;

use super::column;
use crate::decode::{UnknownFields, missing};
use crate::error::{Fatal, Result};
use crate::record::{Reason, Rejection, Stage};
use crate::schema::{Field, InputSchema};
use crate::stages::Decoded;

pub(super) struct Table {
    name: String,
    reader: ParquetRecordBatchReader,
    schema: InputSchema,
    /// For each field, the column that is read as it.
    places: Vec<Option<usize>>,
    /// Columns that are passed over.
    unknown: u64,
    /// Rows read so far.
    rows: u64,
}

impl Table {
    pub fn open(
        path: &Path,
        schema: &InputSchema,
        unknown_fields: UnknownFields,
        rows_max: usize,
    ) -> Result<Table> {
        let name = path.display().to_string();
        let refuse = |fault: String| Fatal::usage(format!("cannot read {name}: {fault}"));
        let broken = |error| refuse("it is no whole Parquet file".to_owned()).because(error);
        let file = File::open(path).map_err(|e| refuse("it cannot be opened".into()).because(e))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)
            .map_err(|error| broken(Box::new(error)))?;
        let found = builder.schema().clone();
        let known = places(schema, &found);
        let unknown: Vec<&str> = (0..found.fields().len())
            .filter(|column| !known.contains(&Some(*column)))
            .map(|column| found.field(column).name().as_str())
            .collect();
        if unknown_fields == UnknownFields::Reject && !unknown.is_empty() {
            return Err(refuse(format!(
                "the input schema has no field {}, and unknown fields are to be rejected",
                unknown.join(", ")
            )));
        }
        for (field, place) in schema.fields().iter().zip(&known) {
            check(field, place.map(|place| found.field(place))).map_err(refuse)?;
        }
        check_compression(builder.metadata()).map_err(refuse)?;
        let absent = schema.fields().iter().zip(&known);
        let absent = absent.filter(|(_, place)| place.is_none());
        let absent: Vec<&str> = absent.map(|(field, _)| field.name.as_str()).collect();
        if !absent.is_empty() {
            tracing::warn!(file = name, ?absent, "columns are null or their default");
        }
        let unknown = unknown.len() as u64;
        let mask = ProjectionMask::roots(builder.parquet_schema(), known.iter().flatten().copied());
        let reader = builder
            .with_projection(mask)
            .with_batch_size(rows_max)
            .build()
            .map_err(|error| broken(Box::new(error)))?;
        // The reader leaves out what it was not asked for, so columns have other places now.
        let places = places(schema, &arrow::array::RecordBatchReader::schema(&reader));
        Ok(Table {
            name,
            reader,
            schema: schema.clone(),
            places,
            unknown,
            rows: 0,
        })
    }

    /// The next rows, at least one; nothing at the end.
    pub fn next(&mut self) -> Result<Option<(Decoded, Vec<Option<Rejection>>)>> {
        for batch in self.reader.by_ref() {
            let batch = batch.map_err(|error| {
                let (name, rows) = (&self.name, self.rows);
                Fatal::usage(format!("cannot read {name} after row {rows}")).because(error)
            })?;
            if batch.num_rows() > 0 {
                self.rows += batch.num_rows() as u64;
                return Ok(Some(self.events(&batch)));
            }
        }
        Ok(None)
    }

    fn events(&self, batch: &RecordBatch) -> (Decoded, Vec<Option<Rejection>>) {
        let mut reasons: Vec<Option<Reason>> = vec![None; batch.num_rows()];
        let mut columns = missing(&self.schema, batch.num_rows()).columns().to_vec();
        for (index, field) in self.schema.fields().iter().enumerate() {
            if let Some(place) = self.places[index] {
                columns[index] = column::read(batch.column(place), field, &mut reasons);
            }
        }
        let columns = blank(&columns, &reasons);
        let events = RecordBatch::try_new(self.schema.arrow().clone(), columns)
            .expect("every column was read as the type of its field");
        let rejection = |reason| Rejection::new(Stage::Decode, reason);
        let accepted = reasons.iter().filter(|reason| reason.is_none()).count();
        let decoded = Decoded {
            events,
            unknown_fields: self.unknown * accepted as u64,
            has_unknown: vec![self.unknown > 0; reasons.len()],
        };
        let rejected = reasons.into_iter().map(|reason| reason.map(rejection));
        (decoded, rejected.collect())
    }
}

/// What cannot be unpacked is refused before anything is read.
pub(super) fn check_compression(metadata: &ParquetMetaData) -> Result<(), String> {
    for column in metadata
        .row_groups()
        .iter()
        .flat_map(|group| group.columns())
    {
        let compression = column.compression();
        if !matches!(
            compression,
            Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::ZSTD(_)
        ) {
            return Err(format!(
                "column `{}` is compressed with {compression}; write it with ZSTD, Snappy or uncompressed",
                column.column_path().string()
            ));
        }
    }
    Ok(())
}

/// Where the columns of the fields are, by name or alias.
fn places(schema: &InputSchema, found: &Schema) -> Vec<Option<usize>> {
    let place = |field: &Field| {
        let mut names = std::iter::once(&field.name).chain(&field.aliases);
        names.find_map(|name| found.index_of(name).ok())
    };
    schema.fields().iter().map(place).collect()
}

fn check(field: &Field, column: Option<&arrow::datatypes::Field>) -> Result<(), String> {
    let name = &field.name;
    match column {
        Some(column) if !column::is_readable_as(column.data_type(), &field.kind) => Err(format!(
            "column `{}` is {}, which cannot be read as {}",
            column.name(),
            column.data_type(),
            field.kind
        )),
        Some(_) => Ok(()),
        None if field.personal || field.when_missing().is_some() => Ok(()),
        None => Err(format!(
            "it has no column `{name}`, which the input schema requires"
        )),
    }
}

/// The columns with nulls in the rows that are refused.
fn blank(columns: &[ArrayRef], reasons: &[Option<Reason>]) -> Vec<ArrayRef> {
    if reasons.iter().all(Option::is_none) {
        return columns.to_vec();
    }
    let refused = reasons.iter().map(|reason| Some(reason.is_some()));
    let refused: BooleanArray = refused.collect();
    let blanked = columns.iter().map(|column| nullif(column, &refused));
    blanked
        .collect::<Result<_, _>>()
        .expect("the mask is as long as the columns")
}
