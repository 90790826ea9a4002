//! From columns of features to the tensors of one chunk.
//!
//! The buffers are allocated once per model. A chunk that is not full is padded with its first row, whose values the
//! model accepts if it accepts the chunk. Null and every NaN become one NaN, so that the model's input has one
//! form, whatever arithmetic the NaN came from.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{ArrowPrimitiveType, Float32Type, Float64Type, Int64Type};
use ort::session::SessionInputValue;
use ort::value::{Tensor, TensorRef};

use crate::features::FeatureType;
use crate::package::FeatureSpec;

const NAN_32: f32 = f32::from_bits(0x7fc0_0000);
const NAN_64: f64 = f64::from_bits(0x7ff8_0000_0000_0000);

/// The inputs of one chunk, in buffers that hold the largest.
#[derive(Clone)]
pub(super) struct Chunk {
    rows: usize,
    tensors: Tensors,
}

#[derive(Clone)]
enum Tensors {
    /// Row after row.
    Matrix { width: usize, values: Vec<f32> },
    /// One for each input of the model, with the index of its feature.
    Columns(Vec<(usize, Column)>),
}

#[derive(Clone)]
enum Column {
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Int64(Vec<i64>),
    Boolean(Vec<bool>),
    Utf8(Vec<String>),
}

impl Chunk {
    /// Zeros and empty texts. `wiring` has the feature of each input of the model; nothing means a matrix.
    pub fn new(rows: usize, features: &[FeatureSpec], wiring: Option<&[usize]>) -> Chunk {
        let tensors = match wiring {
            None => Tensors::Matrix {
                width: features.len(),
                values: vec![0.0; rows * features.len()],
            },
            Some(wiring) => {
                let column =
                    |feature: &usize| (*feature, Column::new(rows, features[*feature].kind));
                Tensors::Columns(wiring.iter().map(column).collect())
            }
        };
        Chunk { rows, tensors }
    }

    /// Becomes a chunk of `size` rows: these of the columns, at least one, and the first of them again and again.
    pub fn fill(&mut self, columns: &[ArrayRef], rows: Range<usize>, size: usize) {
        assert!(
            (1..=size).contains(&rows.len()),
            "a chunk of {size} rows takes {} rows",
            rows.len()
        );
        self.rows = size;
        match &mut self.tensors {
            Tensors::Matrix { width, values } => {
                fill_matrix(&mut values[..size * *width], *width, columns, rows)
            }
            Tensors::Columns(inputs) => {
                for (feature, column) in inputs {
                    column.fill(&columns[*feature], rows.clone(), size);
                }
            }
        }
    }

    /// As ONNX Runtime takes them, in the order of the model's inputs.
    ///
    /// # Errors
    /// If a text holds a zero byte, which ONNX Runtime cannot take.
    pub fn values(&self) -> ort::Result<Vec<SessionInputValue<'_>>> {
        match &self.tensors {
            Tensors::Matrix { width, values } => {
                let values = &values[..self.rows * width];
                Ok(vec![
                    TensorRef::from_array_view(([self.rows, *width], values))?.into(),
                ])
            }
            Tensors::Columns(inputs) => inputs
                .iter()
                .map(|(_, column)| column.value(self.rows))
                .collect(),
        }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Becomes a chunk of its first rows, if it has more.
    pub fn cut(&mut self, rows: usize) {
        self.rows = self.rows.min(rows);
    }
}

fn fill_matrix(values: &mut [f32], width: usize, columns: &[ArrayRef], rows: Range<usize>) {
    for (feature, column) in columns.iter().enumerate() {
        let slots = values[feature..].iter_mut().step_by(width);
        fill(
            slots,
            column.as_primitive::<Float32Type>(),
            rows.clone(),
            canonical_32,
        );
    }
    let (first, others) = values.split_at_mut(width);
    for other in others.chunks_exact_mut(width).skip(rows.len() - 1) {
        other.copy_from_slice(first);
    }
}

impl Column {
    fn new(rows: usize, kind: FeatureType) -> Column {
        match kind {
            FeatureType::Float32 => Column::Float32(vec![0.0; rows]),
            FeatureType::Float64 => Column::Float64(vec![0.0; rows]),
            FeatureType::Int64 => Column::Int64(vec![0; rows]),
            FeatureType::Boolean => Column::Boolean(vec![false; rows]),
            FeatureType::Utf8 => Column::Utf8(vec![String::new(); rows]),
        }
    }

    fn fill(&mut self, column: &ArrayRef, rows: Range<usize>, size: usize) {
        let padding = rows.len()..size;
        match self {
            Column::Float32(values) => {
                fill(
                    values.iter_mut(),
                    column.as_primitive::<Float32Type>(),
                    rows,
                    canonical_32,
                );
                repeat_first(&mut values[..], padding);
            }
            Column::Float64(values) => {
                fill(
                    values.iter_mut(),
                    column.as_primitive::<Float64Type>(),
                    rows,
                    canonical_64,
                );
                repeat_first(&mut values[..], padding);
            }
            Column::Int64(values) => {
                fill(
                    values.iter_mut(),
                    column.as_primitive::<Int64Type>(),
                    rows,
                    present,
                );
                repeat_first(&mut values[..], padding);
            }
            Column::Boolean(values) => {
                let column = column.as_boolean();
                for (value, row) in values.iter_mut().zip(rows) {
                    *value = present(column.is_valid(row).then(|| column.value(row)));
                }
                repeat_first(&mut values[..], padding);
            }
            Column::Utf8(values) => {
                let column = column.as_string::<i32>();
                for (value, row) in values.iter_mut().zip(rows) {
                    value.clear();
                    value.push_str(if column.is_valid(row) {
                        column.value(row)
                    } else {
                        ""
                    });
                }
                repeat_first(&mut values[..], padding);
            }
        }
    }

    fn value(&self, rows: usize) -> ort::Result<SessionInputValue<'_>> {
        let shape = [rows, 1];
        Ok(match self {
            Column::Float32(values) => TensorRef::from_array_view((shape, &values[..rows]))?.into(),
            Column::Float64(values) => TensorRef::from_array_view((shape, &values[..rows]))?.into(),
            Column::Int64(values) => TensorRef::from_array_view((shape, &values[..rows]))?.into(),
            Column::Boolean(values) => TensorRef::from_array_view((shape, &values[..rows]))?.into(),
            Column::Utf8(values) => Tensor::from_string_array((shape, &values[..rows]))?.into(),
        })
    }
}

fn repeat_first<T: Clone>(values: &mut [T], padding: Range<usize>) {
    if let Some((first, others)) = values.split_first_mut() {
        others[padding.start - 1..padding.end - 1].fill(first.clone());
    }
}

fn fill<'a, T: ArrowPrimitiveType>(
    slots: impl Iterator<Item = &'a mut T::Native>,
    column: &PrimitiveArray<T>,
    rows: Range<usize>,
    form: impl Fn(Option<T::Native>) -> T::Native,
) where
    T::Native: 'a,
{
    let values = &column.values()[rows.clone()];
    match column.nulls() {
        None => {
            for (slot, value) in slots.zip(values) {
                *slot = form(Some(*value));
            }
        }
        Some(nulls) => {
            for ((slot, value), row) in slots.zip(values).zip(rows) {
                *slot = form(nulls.is_valid(row).then_some(*value));
            }
        }
    }
}

fn canonical_32(value: Option<f32>) -> f32 {
    value.filter(|value| !value.is_nan()).unwrap_or(NAN_32)
}

fn canonical_64(value: Option<f64>) -> f64 {
    value.filter(|value| !value.is_nan()).unwrap_or(NAN_64)
}

fn present<T>(value: Option<T>) -> T {
    value.expect("the package imputes every integer and boolean")
}

/// Whether the column has the Arrow type of the feature.
pub(super) fn has_type(column: &ArrayRef, kind: FeatureType) -> bool {
    *column.data_type() == kind.arrow_type()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float32Array, Float64Array, StringArray};

    use super::*;
    use crate::package::About;

    fn feature(kind: FeatureType) -> FeatureSpec {
        FeatureSpec {
            name: "f".into(),
            sql: "f".into(),
            impute: None,
            categories: None,
            kind,
            about: About::default(),
        }
    }

    #[test]
    fn a_matrix_is_filled_row_by_row_and_padded_with_its_first_row() {
        let features = [feature(FeatureType::Float32), feature(FeatureType::Float32)];
        let columns: [ArrayRef; 2] = [
            Arc::new(Float32Array::from(vec![1.0, 2.0, 3.0, 4.0])),
            Arc::new(Float32Array::from(vec![
                Some(10.0),
                None,
                Some(30.0),
                Some(40.0),
            ])),
        ];
        let mut chunk = Chunk::new(4, &features, None);
        chunk.fill(&columns, 0..4, 4);
        chunk.fill(&columns, 1..3, 3);
        let Tensors::Matrix { values, .. } = &chunk.tensors else {
            panic!("a matrix")
        };
        let bits: Vec<u32> = values[..6].iter().map(|value| value.to_bits()).collect();
        let wanted = [2.0, NAN_32, 3.0, 30.0, 2.0, NAN_32].map(f32::to_bits);
        assert_eq!(bits, wanted);
    }

    #[test]
    fn every_nan_has_the_same_bits() {
        let other = f32::from_bits(0xffc0_1234);
        assert_eq!(canonical_32(Some(other)).to_bits(), 0x7fc0_0000);
        assert_eq!(canonical_32(None).to_bits(), 0x7fc0_0000);
        assert_eq!(
            canonical_64(Some(-f64::NAN)).to_bits(),
            0x7ff8_0000_0000_0000
        );
        assert_eq!(canonical_32(Some(-0.0)).to_bits(), (-0.0f32).to_bits());
    }

    #[test]
    fn columns_are_found_by_wiring_and_null_texts_are_empty() {
        let features = [feature(FeatureType::Utf8), feature(FeatureType::Float64)];
        let columns: [ArrayRef; 2] = [
            Arc::new(StringArray::from(vec![Some("a"), None])),
            Arc::new(Float64Array::from(vec![1.0, 2.0])),
        ];
        let mut chunk = Chunk::new(3, &features, Some(&[1, 0]));
        chunk.fill(&columns, 0..2, 3);
        let Tensors::Columns(inputs) = &chunk.tensors else {
            panic!("columns")
        };
        assert!(matches!(&inputs[0], (1, Column::Float64(values)) if values == &[1.0, 2.0, 1.0]));
        assert!(matches!(&inputs[1], (0, Column::Utf8(values)) if values == &["a", "", "a"]));
    }

    #[test]
    #[should_panic(expected = "imputes every integer")]
    fn a_null_integer_is_a_bug() {
        let column: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![None]));
        Chunk::new(1, &[feature(FeatureType::Int64)], Some(&[0])).fill(&[column], 0..1, 1);
    }
}
