//! A sample of what the model is fed, as `probity score --features` writes it.
//!
//! One column for each feature, of its name and type; others are passed over. What is missing is as the model would get
//! it: imputed, NaN, or the empty text. Nothing of it is kept but what [`super::synthetic`] makes of it.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, Float32Array, Float64Array, RecordBatch, StringArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{Float32Type, Float64Type};
use arrow::row::{RowConverter, SortField};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::error::{Fatal, Result};
use crate::features::FeatureType;
use crate::package::FeatureSpec;

/// More rows would not change what is made of them.
const ROWS_MAX: i64 = 1 << 20;
const ROWS_MIN: i64 = 2;

pub(super) struct Sample {
    pub features: Vec<FeatureSpec>,
    /// In the order of the features; without nulls, and without infinite numbers.
    pub columns: Vec<ArrayRef>,
}

impl Sample {
    /// Reads the columns of the features from the Parquet file at `path`.
    pub fn read(path: &Path, features: &[FeatureSpec]) -> Result<Sample> {
        let name = path.display();
        let refuse = |problem: String| Fatal::usage(format!("cannot read {name}: {problem}"));
        let no_table = || refuse("it is no whole Parquet file".to_owned());
        let file = File::open(path)
            .map_err(|error| refuse("it cannot be opened".to_owned()).because(error))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)
            .map_err(|error| no_table().because(error))?;
        let rows = builder.metadata().file_metadata().num_rows();
        if !(ROWS_MIN..=ROWS_MAX).contains(&rows) {
            let has = match rows {
                1 => "1 row".to_owned(),
                _ => format!("{rows} rows"),
            };
            let problem = format!("it has {has}; take a sample of {ROWS_MIN} to {ROWS_MAX}");
            return Err(refuse(problem));
        }
        let found = builder.schema().clone();
        let mut places = Vec::with_capacity(features.len());
        for spec in features {
            let place = found.index_of(&spec.name);
            let place = place
                .ok()
                .filter(|at| found.field(*at).data_type() == &spec.kind.arrow_type());
            places.push(place.ok_or_else(|| {
                refuse(format!(
                    "it has no column `{}` of type {}; write it with `probity score --features`",
                    spec.name,
                    spec.kind.as_str()
                ))
            })?);
        }
        let mask = ProjectionMask::roots(builder.parquet_schema(), places);
        let reader = builder
            .with_projection(mask)
            .build()
            .map_err(|error| no_table().because(error))?;
        let batches: Vec<RecordBatch> = reader
            .collect::<Result<_, _>>()
            .map_err(|error| no_table().because(error))?;
        let schema = batches.first().ok_or_else(no_table)?.schema();
        let all = concat_batches(&schema, &batches).expect("batches of one file are alike");
        let columns = features.iter().map(|spec| {
            let column = all.column_by_name(&spec.name).expect("it was asked for");
            as_fed(column, spec)
                .map_err(|problem| refuse(format!("column `{}` {problem}", spec.name)))
        });
        Ok(Sample {
            features: features.to_vec(),
            columns: columns.collect::<Result<_>>()?,
        })
    }

    pub fn rows(&self) -> usize {
        self.columns[0].len()
    }

    /// How many of these rows have the values of a row of the sample.
    pub fn holds(&self, columns: &[ArrayRef]) -> usize {
        let fields = self.columns.iter();
        let fields = fields.map(|column| SortField::new(column.data_type().clone()));
        let converter =
            RowConverter::new(fields.collect()).expect("all types of features have an order");
        let rows = |columns: &[ArrayRef]| {
            converter
                .convert_columns(columns)
                .expect("the columns are of the features' types")
        };
        let known = rows(&self.columns);
        let known: HashSet<&[u8]> = known.iter().map(|row| row.data()).collect();
        rows(columns)
            .iter()
            .filter(|row| known.contains(row.data()))
            .count()
    }
}

/// The column as the model would get it.
///
/// # Errors
/// What is wrong with it: the rest of a sentence.
fn as_fed(column: &ArrayRef, spec: &FeatureSpec) -> Result<ArrayRef, String> {
    let infinite = "has an infinite number; let the expression give null there";
    let missing = spec.impute.unwrap_or(f64::NAN);
    Ok(match spec.kind {
        FeatureType::Float32 => {
            let values = column.as_primitive::<Float32Type>().iter();
            let fed = values.map(|value| value.filter(|v| !v.is_nan()).unwrap_or(missing as f32));
            let fed: Vec<f32> = fed.collect();
            if fed.iter().any(|value| value.is_infinite()) {
                return Err(infinite.to_owned());
            }
            Arc::new(Float32Array::from(fed))
        }
        FeatureType::Float64 => {
            let values = column.as_primitive::<Float64Type>().iter();
            let fed: Vec<f64> = values
                .map(|value| value.filter(|v| !v.is_nan()).unwrap_or(missing))
                .collect();
            if fed.iter().any(|value| value.is_infinite()) {
                return Err(infinite.to_owned());
            }
            Arc::new(Float64Array::from(fed))
        }
        FeatureType::Utf8 => {
            let values = column.as_string::<i32>().iter();
            let fed = values.map(Option::unwrap_or_default);
            Arc::new(StringArray::from_iter_values(fed))
        }
        FeatureType::Int64 | FeatureType::Boolean if column.null_count() > 0 => {
            return Err(format!(
                "has a null, but a feature of type {} cannot be missing",
                spec.kind.as_str()
            ));
        }
        FeatureType::Int64 | FeatureType::Boolean => column.clone(),
    })
}
