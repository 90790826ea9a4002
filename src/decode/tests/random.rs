//! Random records, written by encoders of the tests' own, come back as they were, and no garbage
//! among them changes that.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::schema::{FieldType, TimeUnit};

type Row = Vec<Option<Cell>>;

/// Avro's variable-length integer.
pub(super) fn zigzag(number: i64) -> Vec<u8> {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    let mut out = Vec::new();
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}

/// Avro's bytes and strings.
pub(super) fn sized(bytes: &[u8]) -> Vec<u8> {
    [&zigzag(bytes.len() as i64), bytes].concat()
}

fn every_type() -> InputSchema {
    InputSchema::parse(EVERY_TYPE).unwrap()
}

fn any_cell(kind: &FieldType) -> BoxedStrategy<Cell> {
    match kind {
        FieldType::String => any::<String>().prop_map(Cell::Text).boxed(),
        FieldType::Int => any::<i32>().prop_map(Cell::Int).boxed(),
        FieldType::Long => any::<i64>().prop_map(Cell::Long).boxed(),
        FieldType::Float => any::<f32>().prop_map(Cell::Float).boxed(),
        FieldType::Double => any::<f64>().prop_map(Cell::Double).boxed(),
        FieldType::Boolean => any::<bool>().prop_map(Cell::Boolean).boxed(),
        FieldType::Timestamp(TimeUnit::Millis) => (i64::MIN / 1000..i64::MAX / 1000)
            .prop_map(|ms| Cell::Micros(ms * 1000))
            .boxed(),
        FieldType::Timestamp(TimeUnit::Micros) => any::<i64>().prop_map(Cell::Micros).boxed(),
        FieldType::Date => any::<i32>().prop_map(Cell::Days).boxed(),
        FieldType::Decimal(decimal) => {
            let limit = 10_i128.pow(u32::from(decimal.precision()));
            (1 - limit..limit).prop_map(Cell::Unscaled).boxed()
        }
        FieldType::Enum(symbols) => proptest::sample::select(symbols.in_order().to_vec())
            .prop_map(Cell::Text)
            .boxed(),
    }
}

fn any_row() -> impl Strategy<Value = Row> {
    let fields = every_type().fields().to_vec();
    let cells = fields.into_iter().map(|field| {
        let cell = any_cell(&field.kind);
        if field.nullable {
            proptest::option::of(cell).boxed()
        } else {
            cell.prop_map(Some).boxed()
        }
    });
    cells.collect::<Vec<_>>()
}

fn json_text(kind: &FieldType, cell: &Option<Cell>) -> String {
    match (cell, kind) {
        (None, _) => "null".to_owned(),
        (Some(Cell::Text(text)), _) => serde_json::to_string(text).unwrap(),
        (Some(Cell::Int(number)), _) => number.to_string(),
        (Some(Cell::Long(number)), _) => number.to_string(),
        (Some(Cell::Float(number)), _) => format!("{number:e}"),
        (Some(Cell::Double(number)), _) => number.to_string(),
        (Some(Cell::Boolean(flag)), _) => flag.to_string(),
        (Some(Cell::Micros(micros)), FieldType::Timestamp(TimeUnit::Millis)) => {
            (micros / 1000).to_string()
        }
        (Some(Cell::Micros(micros)), _) => micros.to_string(),
        (Some(Cell::Days(days)), _) => days.to_string(),
        (Some(Cell::Unscaled(unscaled)), FieldType::Decimal(decimal)) => {
            format!("\"{unscaled}e-{}\"", decimal.scale())
        }
        other => panic!("no such cell: {other:?}"),
    }
}

/// The row as an object whose fields start at `first` and go round.
fn json(schema: &InputSchema, row: &Row, first: usize) -> Vec<u8> {
    let fields = schema.fields().iter().zip(row);
    let mut texts: Vec<_> = fields
        .map(|(field, cell)| format!("\"{}\": {}", field.name, json_text(&field.kind, cell)))
        .collect();
    let len = texts.len();
    texts.rotate_left(first % len);
    format!("{{{}}}", texts.join(",\n")).into_bytes()
}

fn avro_bytes(kind: &FieldType, cell: &Cell) -> Vec<u8> {
    match (cell, kind) {
        (Cell::Text(symbol), FieldType::Enum(symbols)) => {
            let index = symbols.in_order().iter().position(|known| known == symbol);
            zigzag(index.unwrap() as i64)
        }
        (Cell::Text(text), _) => sized(text.as_bytes()),
        (Cell::Int(number) | Cell::Days(number), _) => zigzag(i64::from(*number)),
        (Cell::Long(number), _) => zigzag(*number),
        (Cell::Float(number), _) => number.to_le_bytes().to_vec(),
        (Cell::Double(number), _) => number.to_le_bytes().to_vec(),
        (Cell::Boolean(flag), _) => vec![u8::from(*flag)],
        (Cell::Micros(micros), FieldType::Timestamp(TimeUnit::Millis)) => zigzag(micros / 1000),
        (Cell::Micros(micros), _) => zigzag(*micros),
        (Cell::Unscaled(unscaled), FieldType::Decimal(decimal)) => {
            let bytes = unscaled.to_be_bytes();
            if decimal.fixed_bytes().is_some() {
                bytes.to_vec()
            } else {
                sized(&bytes)
            }
        }
        other => panic!("no such cell: {other:?}"),
    }
}

fn avro(schema: &InputSchema, row: &Row) -> Vec<u8> {
    let mut out = Vec::new();
    for (field, cell) in schema.fields().iter().zip(row) {
        if field.nullable {
            let is_first = cell.is_none() == field.null_first;
            out.extend(zigzag(if is_first { 0 } else { 1 }));
        }
        out.extend(cell.iter().flat_map(|cell| avro_bytes(&field.kind, cell)));
    }
    out
}

/// Good bytes, the same damaged in one place, or nothing but noise.
fn any_value(good: fn(&InputSchema, &Row) -> Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let good = any_row()
        .prop_map(move |row| good(&every_type(), &row))
        .boxed();
    let damaged = (
        good.clone(),
        any::<proptest::sample::Index>(),
        any::<u8>(),
        0..4,
    )
        .prop_map(|(mut bytes, at, byte, damage)| {
            let at = at.index(bytes.len());
            match damage {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => bytes[at] = byte,
            }
            bytes
        });
    prop_oneof![2 => good, 3 => damaged, 1 => vec(any::<u8>(), 0..100)]
}

fn check_written_rows(decoder: &Decoder, rows: &[Row], values: &[Vec<u8>]) {
    let decoded = decode_all(decoder, values);
    assert!(
        decoded.rejected.iter().all(Option::is_none),
        "{:?}",
        decoded.rejected
    );
    for (at, expected) in rows.iter().enumerate() {
        assert_eq!(&row(&decoded, at), expected);
    }
}

fn check_isolation(decoder: &Decoder, schema: &InputSchema, values: &[Vec<u8>]) {
    let together = decode_all(decoder, values);
    assert_eq!(together.events.num_rows(), values.len());
    assert_eq!(together.rejected.len(), values.len());
    let mut unknown_fields = 0;
    for (at, value) in values.iter().enumerate() {
        let alone = decode_all(decoder, &[value]);
        assert_eq!(alone.rejected[0], together.rejected[at]);
        assert_eq!(row(&alone, 0), row(&together, at));
        unknown_fields += alone.unknown_fields;
        for (field, cell) in schema.fields().iter().zip(row(&together, at)) {
            let is_null = cell.is_none();
            match together.rejected[at] {
                Some(_) => assert!(is_null, "{} of a refused row", field.name),
                None => assert!(!is_null || field.nullable, "{} is required", field.name),
            }
        }
    }
    assert_eq!(together.unknown_fields, unknown_fields);
}

proptest! {
    #[test]
    fn json_rows_come_back_as_written(rows in vec(any_row(), 1..5), first in 0_usize..20) {
        let schema = every_type();
        let values: Vec<_> = rows.iter().map(|row| json(&schema, row, first)).collect();
        check_written_rows(&decoder(&schema, Format::Json), &rows, &values);
    }

    #[test]
    fn avro_rows_come_back_as_written(rows in vec(any_row(), 1..5)) {
        let schema = every_type();
        let values: Vec<_> = rows.iter().map(|row| avro(&schema, row)).collect();
        check_written_rows(&decoder(&schema, Format::Avro), &rows, &values);
    }

    #[test]
    fn json_garbage_costs_no_neighbour(
        values in vec(any_value(|schema, row| json(schema, row, 0)), 0..12)
    ) {
        let schema = every_type();
        check_isolation(&decoder(&schema, Format::Json), &schema, &values);
    }

    #[test]
    fn avro_garbage_costs_no_neighbour(values in vec(any_value(avro), 0..12)) {
        let schema = every_type();
        check_isolation(&decoder(&schema, Format::Avro), &schema, &values);
    }
}
