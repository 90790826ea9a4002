//! Random tables of every type that a row can have, extremes first. Shared by the unit tests of the leaves
//! and by those with files: it knows Arrow, and nothing of probity.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, Float32Array, Float64Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// A value, whatever the type that stores it.
#[derive(Clone, PartialEq, Debug)]
pub enum Datum {
    Null,
    Bool(bool),
    Int(i64),
    Date(i32),
    Time(i64),
    F32(f32),
    F64(f64),
    Text(String),
    Bytes(Vec<u8>),
    Decimal(i128),
}

/// A table twice: as the values that were drawn, row by row, and as Arrow has it.
pub struct Table {
    pub columns_text: String,
    pub rows: Vec<Vec<Datum>>,
    pub batch: RecordBatch,
}

/// All types, with the kind of each as the columns text names it.
pub fn types() -> Vec<(DataType, &'static str)> {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let dictionary = DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into());
    vec![
        (DataType::Boolean, "bool"),
        (DataType::Int8, "int"),
        (DataType::Int16, "int"),
        (DataType::Int32, "int"),
        (DataType::Int64, "int"),
        (DataType::Date32, "date"),
        (time, "time"),
        (DataType::Float32, "f32"),
        (DataType::Float64, "f64"),
        (DataType::Utf8, "text"),
        (DataType::LargeUtf8, "text"),
        (DataType::Utf8View, "text"),
        (dictionary, "text"),
        (DataType::Binary, "bytes"),
        (DataType::LargeBinary, "bytes"),
        (DataType::BinaryView, "bytes"),
        (DataType::FixedSizeBinary(16), "bytes"),
        (DataType::Decimal128(1, 0), "decimal(1,0)"),
        (DataType::Decimal128(9, 2), "decimal(9,2)"),
        (DataType::Decimal128(18, 18), "decimal(18,18)"),
        (DataType::Decimal128(38, 0), "decimal(38,0)"),
        (DataType::Decimal128(38, 10), "decimal(38,10)"),
    ]
}

pub struct Draw(ChaCha8Rng);

impl Draw {
    pub fn new(seed: u64) -> Draw {
        Draw(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.0.next_u64() % limit as u64) as usize
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// A table of so many rows, with columns of some types, or of all.
    pub fn table(&mut self, rows: usize, all_types: bool) -> Table {
        let mut types = types();
        for index in (1..types.len()).rev() {
            types.swap(index, self.below(index + 1));
        }
        if !all_types {
            types.truncate(1 + self.below(8));
        }
        let mut text = String::new();
        let (mut fields, mut arrays, mut columns) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (data_type, kind)) in types.iter().enumerate() {
            let name = format!("{} {index}", self.one(&["a", "é", "B_1", "\"q\"", "日本"]));
            text.push_str(&format!("{name}:{kind}\n"));
            fields.push(Field::new(name, data_type.clone(), true));
            let before = self.below(3);
            let data = self.column(data_type, before + rows);
            // An array that begins before its first row.
            arrays.push(array(data_type, &data).slice(before, rows));
            columns.push(data[before..].to_vec());
        }
        let row = |row: usize| columns.iter().map(|column| column[row].clone()).collect();
        Table {
            columns_text: text,
            rows: (0..rows).map(row).collect(),
            batch: RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap(),
        }
    }

    fn column(&mut self, data_type: &DataType, rows: usize) -> Vec<Datum> {
        match self.below(6) {
            0 => vec![Datum::Null; rows],
            1 => vec![self.datum(data_type); rows],
            2 => (0..rows).map(|_| self.datum(data_type)).collect(),
            _ => (0..rows)
                .map(|_| match self.below(5) {
                    0 => Datum::Null,
                    _ => self.datum(data_type),
                })
                .collect(),
        }
    }

    fn datum(&mut self, data_type: &DataType) -> Datum {
        let any = self.0.next_u64();
        let is_extreme = self.below(3) == 0;
        let mut int = |min: i64, max: i64| match is_extreme {
            true => self.one(&[min, max, 0, -1, 1]),
            false => any.cast_signed() >> (62 - max.ilog2()),
        };
        match data_type {
            DataType::Boolean => Datum::Bool(any & 1 == 1),
            DataType::Int8 => Datum::Int(int(i8::MIN.into(), i8::MAX.into())),
            DataType::Int16 => Datum::Int(int(i16::MIN.into(), i16::MAX.into())),
            DataType::Int32 => Datum::Int(int(i32::MIN.into(), i32::MAX.into())),
            DataType::Int64 => Datum::Int(int(i64::MIN, i64::MAX)),
            DataType::Date32 => Datum::Date(int(i32::MIN.into(), i32::MAX.into()) as i32),
            DataType::Timestamp(..) => Datum::Time(int(i64::MIN, i64::MAX)),
            DataType::Float32 => Datum::F32(match is_extreme {
                true => self.one(&[
                    0.0,
                    -0.0,
                    f32::INFINITY,
                    f32::NEG_INFINITY,
                    f32::MIN,
                    f32::NAN,
                ]),
                false => f32::from_bits(any as u32),
            }),
            DataType::Float64 => Datum::F64(match is_extreme {
                true => self.one(&[
                    0.0,
                    -0.0,
                    f64::INFINITY,
                    f64::NEG_INFINITY,
                    f64::MIN,
                    f64::NAN,
                ]),
                // Some of them NaNs that no calculation makes.
                false if any & 3 == 0 => f64::from_bits(any | 0x7ff0_0000_0000_0000),
                false => f64::from_bits(any),
            }),
            DataType::Decimal128(precision, _) => {
                let limit = 10_i128.pow((*precision).into());
                Datum::Decimal(match is_extreme {
                    true => self.one(&[limit - 1, 1 - limit, 0, -1, 1]),
                    false => (i128::from(any) << 64 | i128::from(self.0.next_u64())) % limit,
                })
            }
            DataType::FixedSizeBinary(size) => {
                let mut bytes = vec![0; *size as usize];
                self.0.fill_bytes(&mut bytes);
                Datum::Bytes(bytes)
            }
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
                let mut bytes = vec![0; self.below(40)];
                self.0.fill_bytes(&mut bytes);
                Datum::Bytes(bytes)
            }
            _ => Datum::Text(match is_extreme {
                true => self
                    .one(&["", " ", "null", "a:b\nc", "Ünïcødé 日本", &"x".repeat(700)])
                    .into(),
                false => format!("{:x}", any >> (any % 60)),
            }),
        }
    }
}

/// The values in an array of this type.
pub fn array(data_type: &DataType, data: &[Datum]) -> ArrayRef {
    macro_rules! options {
        ($($variant:ident)|+) => {
            data.iter().map(|datum| match datum {
                Datum::Null => None,
                $(Datum::$variant(value) => Some(value.clone().into()),)+
                other => panic!("{other:?} in a column of {data_type}"),
            })
        };
    }
    let plain: ArrayRef = match data_type {
        DataType::Boolean => Arc::new(options!(Bool).collect::<BooleanArray>()),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            Arc::new(options!(Int).collect::<Int64Array>())
        }
        DataType::Date32 => Arc::new(options!(Date).collect::<arrow::array::Date32Array>()),
        DataType::Timestamp(..) => {
            let times = options!(Time).collect::<TimestampMicrosecondArray>();
            Arc::new(times.with_timezone("UTC"))
        }
        DataType::Float32 => Arc::new(options!(F32).collect::<Float32Array>()),
        DataType::Float64 => Arc::new(options!(F64).collect::<Float64Array>()),
        DataType::Decimal128(precision, scale) => {
            let numbers = options!(Decimal).collect::<Decimal128Array>();
            Arc::new(
                numbers
                    .with_precision_and_scale(*precision, *scale)
                    .unwrap(),
            )
        }
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => {
            let options: Vec<Option<Vec<u8>>> = options!(Bytes).collect();
            Arc::new(BinaryArray::from_iter(options))
        }
        _ => {
            let options: Vec<Option<String>> = options!(Text).collect();
            Arc::new(StringArray::from_iter(options))
        }
    };
    cast(&plain, data_type).unwrap()
}
