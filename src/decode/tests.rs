mod avro;
mod json;
mod random;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};

use super::*;

const MAX_BYTES: usize = 1 << 16;
const MAX_DEPTH: usize = 64;

/// One field of each type, and each type once more with null.
const EVERY_TYPE: &str = r#"{"type":"record","name":"Everything","fields":[
    {"name":"string","type":"string"}, {"name":"string_or_null","type":["null","string"]},
    {"name":"int","type":"int"}, {"name":"int_or_null","type":["int","null"]},
    {"name":"long","type":"long"}, {"name":"long_or_null","type":["null","long"]},
    {"name":"float","type":"float"}, {"name":"float_or_null","type":["null","float"]},
    {"name":"double","type":"double"}, {"name":"double_or_null","type":["double","null"]},
    {"name":"boolean","type":"boolean"}, {"name":"boolean_or_null","type":["null","boolean"]},
    {"name":"millis","type":{"type":"long","logicalType":"timestamp-millis"}},
    {"name":"micros","type":["null",{"type":"long","logicalType":"timestamp-micros"}]},
    {"name":"date","type":{"type":"int","logicalType":"date"}},
    {"name":"date_or_null","type":["null",{"type":"int","logicalType":"date"}]},
    {"name":"enum","type":{"type":"enum","name":"Kind","symbols":["zulu","alpha","mike"]}},
    {"name":"enum_or_null","type":["null","Kind"]},
    {"name":"decimal",
     "type":{"type":"bytes","logicalType":"decimal","precision":20,"scale":4}},
    {"name":"fixed_or_null","type":["null",{"type":"fixed","name":"Wide","size":16,
     "logicalType":"decimal","precision":38,"scale":0}]}
]}"#;

/// What one row holds in one column, read through Arrow alone.
#[derive(Clone, PartialEq, Debug)]
enum Cell {
    Text(String),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    Boolean(bool),
    Micros(i64),
    Days(i32),
    Unscaled(i128),
}

fn cell(column: &ArrayRef, row: usize) -> Option<Cell> {
    use arrow::datatypes::DataType::*;
    if column.is_null(row) {
        return None;
    }
    Some(match column.data_type() {
        Utf8 => Cell::Text(column.as_string::<i32>().value(row).to_owned()),
        Int32 => Cell::Int(column.as_primitive::<Int32Type>().value(row)),
        Int64 => Cell::Long(column.as_primitive::<Int64Type>().value(row)),
        Float32 => Cell::Float(column.as_primitive::<Float32Type>().value(row)),
        Float64 => Cell::Double(column.as_primitive::<Float64Type>().value(row)),
        Boolean => Cell::Boolean(column.as_boolean().value(row)),
        Timestamp(_, _) => {
            Cell::Micros(column.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        Date32 => Cell::Days(column.as_primitive::<Date32Type>().value(row)),
        Decimal128(_, _) => Cell::Unscaled(column.as_primitive::<Decimal128Type>().value(row)),
        other => panic!("no column is {other}"),
    })
}

fn row(decoded: &Decoded, row: usize) -> Vec<Option<Cell>> {
    decoded
        .events
        .columns()
        .iter()
        .map(|column| cell(column, row))
        .collect()
}

fn text(text: &str) -> Option<Cell> {
    Some(Cell::Text(text.to_owned()))
}

fn schema_of(fields: &str) -> InputSchema {
    let text = format!(r#"{{"type":"record","name":"Event","fields":[{fields}]}}"#);
    InputSchema::parse(&text).unwrap()
}

fn settings(format: Format) -> Settings {
    Settings {
        format,
        unknown_fields: UnknownFields::Ignore,
        max_bytes: MAX_BYTES,
        max_depth: MAX_DEPTH,
        registry: Vec::new(),
    }
}

fn decoder(schema: &InputSchema, format: Format) -> Decoder {
    Decoder::new(schema, settings(format)).unwrap()
}

fn decode_all<V: AsRef<[u8]>>(decoder: &Decoder, values: &[V]) -> Decoded {
    decoder.decode(values.iter().map(|value| Some(value.as_ref())))
}

/// The one row that a value decodes to, or why it is refused.
fn decode_one(decoder: &Decoder, value: impl AsRef<[u8]>) -> Result<Vec<Option<Cell>>, Reason> {
    let decoded = decode_all(decoder, &[value]);
    let row = row(&decoded, 0);
    match decoded.rejected.as_slice() {
        [None] => Ok(row),
        [Some(rejection)] => {
            assert_eq!(rejection.stage, Stage::Decode);
            assert!(
                row.iter().all(Option::is_none),
                "a refused value leaves a row of nulls"
            );
            Err(rejection.reason)
        }
        _ => panic!("one value, one verdict"),
    }
}

#[test]
fn empty_batch_has_no_rows_and_all_columns() {
    let schema = InputSchema::parse(EVERY_TYPE).unwrap();
    let decoded = decode_all::<&[u8]>(&decoder(&schema, Format::Json), &[]);
    assert_eq!(decoded.events.num_rows(), 0);
    assert_eq!(decoded.events.schema_ref(), schema.arrow());
    assert!(decoded.rejected.is_empty());
}

#[test]
fn tombstones_and_empty_values_are_refused_in_every_format() {
    let schema = schema_of(r#"{"name":"n","type":["null","int"]}"#);
    let empty = Some(Rejection::new(Stage::Decode, Reason::EmptyValue));
    for format in [Format::Json, Format::Avro, Format::AvroRegistry] {
        let decoded = decoder(&schema, format).decode([None, Some(&b""[..])]);
        assert_eq!(decoded.rejected, [empty, empty], "{format:?}");
        assert_eq!(decoded.events.num_rows(), 2);
    }
}

#[test]
fn size_limit_is_the_largest_value_that_passes() {
    let decoder = decoder(&schema_of(r#"{"name":"s","type":"string"}"#), Format::Json);
    let frame = r#"{"s":""}"#.len();
    for (size, expected) in [
        (MAX_BYTES - 1, None),
        (MAX_BYTES, None),
        (MAX_BYTES + 1, Some(Reason::ValueTooLarge)),
        (5 << 20, Some(Reason::ValueTooLarge)),
    ] {
        let value = format!(r#"{{"s":"{}"}}"#, "x".repeat(size - frame));
        assert_eq!(value.len(), size);
        assert_eq!(decode_one(&decoder, value).err(), expected, "{size}");
    }
}

#[test]
fn batch_of_rejects_only_is_a_batch_of_null_rows() {
    let schema = InputSchema::parse(EVERY_TYPE).unwrap();
    let garbage = vec![b"\xff\x00garbage".as_slice(); 1000];
    for format in [Format::Json, Format::Avro, Format::AvroRegistry] {
        let decoded = decode_all(&decoder(&schema, format), &garbage);
        assert!(decoded.rejected.iter().all(Option::is_some), "{format:?}");
        assert!(
            decoded
                .events
                .columns()
                .iter()
                .all(|column| column.null_count() == 1000)
        );
    }
}
