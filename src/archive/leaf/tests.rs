use std::sync::Arc;

use arrow::array::{
    DictionaryArray, Float64Array, Int8Array, Int32Array, Int64Array, StringArray, StringViewArray,
};
use arrow::datatypes::{Field, Int32Type, TimeUnit};
use proptest::prelude::*;

use super::*;

#[path = "../../../tests/it/leaf/tables.rs"]
mod tables;
use tables::{Datum, Draw, Table};

/// The cell of a value, written from the format's description.
fn cell(datum: &Datum) -> Vec<u8> {
    let prefixed = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes(), bytes].concat();
    let value = match datum {
        Datum::Null => return vec![0],
        Datum::Bool(value) => vec![u8::from(*value)],
        Datum::Int(value) | Datum::Time(value) => value.to_be_bytes().to_vec(),
        Datum::Date(days) => i64::from(*days).to_be_bytes().to_vec(),
        Datum::F32(value) if value.is_nan() => vec![0x7f, 0xc0, 0, 0],
        Datum::F32(value) => value.to_be_bytes().to_vec(),
        Datum::F64(value) if value.is_nan() => vec![0x7f, 0xf8, 0, 0, 0, 0, 0, 0],
        Datum::F64(value) => value.to_be_bytes().to_vec(),
        Datum::Text(text) => prefixed(text.as_bytes()),
        Datum::Bytes(bytes) => prefixed(bytes),
        Datum::Decimal(unscaled) => unscaled.to_be_bytes().to_vec(),
    };
    [vec![1], value].concat()
}

fn cells(row: &[Datum]) -> Vec<u8> {
    row.iter().flat_map(cell).collect()
}

fn leaf(columns_text: &str, row: &[Datum]) -> Digest {
    let columns_sha256 = Digest::of(columns_text.as_bytes());
    Digest::of(&[&[0][..], &columns_sha256.0, &cells(row)].concat())
}

fn leaves(table: &Table) -> Vec<Digest> {
    let leaf = |row: &Vec<Datum>| leaf(&table.columns_text, row);
    table.rows.iter().map(leaf).collect()
}

fn hasher(table: &Table, schema: &Schema) -> (Columns, Leaves) {
    let columns = Columns::parse(table.columns_text.as_bytes()).unwrap();
    let leaves = Leaves::new(&columns, schema).unwrap();
    (columns, leaves)
}

/// The value that `decode` makes of what was drawn. Floats by their bits: a NaN is no NaN's equal.
fn same(value: &Value, datum: &Datum) -> bool {
    match (value, datum) {
        (Value::Null, Datum::Null) => true,
        (Value::Bool(a), Datum::Bool(b)) => a == b,
        (Value::Int(a), Datum::Int(b)) | (Value::Time(a), Datum::Time(b)) => a == b,
        (Value::Date(a), Datum::Date(b)) => a == b,
        (Value::F32(a), Datum::F32(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
        (Value::F64(a), Datum::F64(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
        (Value::Text(a), Datum::Text(b)) => a == b,
        (Value::Bytes(a), Datum::Bytes(b)) => a == b,
        (Value::Decimal { unscaled, .. }, Datum::Decimal(b)) => unscaled == b,
        _ => false,
    }
}

fn datum(value: Value) -> Datum {
    match value {
        Value::Null => Datum::Null,
        Value::Bool(value) => Datum::Bool(value),
        Value::Int(value) => Datum::Int(value),
        Value::Date(days) => Datum::Date(days),
        Value::Time(micros) => Datum::Time(micros),
        Value::F32(value) => Datum::F32(value),
        Value::F64(value) => Datum::F64(value),
        Value::Text(text) => Datum::Text(text),
        Value::Bytes(bytes) => Datum::Bytes(bytes),
        Value::Decimal { unscaled, .. } => Datum::Decimal(unscaled),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn leaves_are_those_of_the_format(seed: u64, rows in 0_usize..200, all_types: bool) {
        let table = Draw::new(seed).table(rows, all_types);
        let schema = table.batch.schema();
        let (columns, mut hasher) = hasher(&table, &schema);
        prop_assert_eq!(Columns::of(&schema).unwrap(), columns.clone());
        prop_assert_eq!(columns.text(), &table.columns_text);
        prop_assert_eq!(hasher.of(&table.batch), leaves(&table));
        for (index, row) in table.rows.iter().enumerate() {
            let found = hasher.cells(&table.batch, index);
            prop_assert_eq!(columns.leaf(&found), leaf(&table.columns_text, row));
            prop_assert_eq!(found, cells(row));
        }
    }

    #[test]
    fn leaves_know_neither_batches_nor_the_order_of_the_files_columns(
        seed: u64, rows in 0_usize..200, cut in 0_usize..200,
    ) {
        let table = Draw::new(seed).table(rows, true);
        let mut order: Vec<usize> = (0..table.batch.num_columns()).collect();
        let width = order.len();
        order.rotate_left(cut % width);
        order.swap(0, 5);
        let batch = table.batch.project(&order).unwrap();
        let (_, mut hasher) = hasher(&table, &batch.schema());
        let cut = cut.min(rows);
        let mut found = hasher.of(&batch.slice(0, cut)).to_vec();
        found.extend(hasher.of(&batch.slice(cut, rows - cut)));
        prop_assert_eq!(found, leaves(&table));
    }

    #[test]
    fn a_row_is_read_back_from_its_cells(seed: u64) {
        let table = Draw::new(seed).table(8, true);
        let (columns, hasher) = hasher(&table, &table.batch.schema());
        for (index, row) in table.rows.iter().enumerate() {
            let values = columns.decode(&hasher.cells(&table.batch, index)).unwrap();
            prop_assert_eq!(values.len(), row.len());
            for (value, datum) in values.iter().zip(row) {
                prop_assert!(same(value, datum), "{:?} for {:?}", value, datum);
                prop_assert!(!value.to_string().chars().any(char::is_control));
            }
        }
    }

    #[test]
    fn what_is_read_from_damaged_cells_has_no_other_form(
        seed: u64, damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4), 1..3),
    ) {
        let table = Draw::new(seed).table(1, false);
        let columns = Columns::parse(table.columns_text.as_bytes()).unwrap();
        let mut bytes = cells(&table.rows[0]);
        for (place, byte, damage) in damages {
            let place = place.index(bytes.len() + 1);
            match damage {
                0 => bytes.truncate(place),
                1 => bytes.insert(place, byte),
                2 if place < bytes.len() => bytes[place] = byte % 3,
                _ if place < bytes.len() => bytes[place] = byte,
                _ => bytes.push(byte),
            }
        }
        if let Ok(values) = columns.decode(&bytes) {
            let row: Vec<Datum> = values.into_iter().map(datum).collect();
            prop_assert_eq!(cells(&row), bytes);
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read(seed: u64, bytes: Vec<u8>) {
        let table = Draw::new(seed).table(1, false);
        let columns = Columns::parse(table.columns_text.as_bytes()).unwrap();
        let _ = columns.decode(&bytes);
        let _ = Columns::parse(&bytes);
    }
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

fn leaves_of(rows: &RecordBatch) -> Vec<Digest> {
    let columns = Columns::of(&rows.schema()).unwrap();
    Leaves::new(&columns, &rows.schema())
        .unwrap()
        .of(rows)
        .to_vec()
}

/// Calculated with Python's hashlib, from the format's description alone.
#[test]
fn a_known_row_has_its_known_leaf() {
    let rows = batch(vec![
        ("kind", Arc::new(StringArray::from(vec!["scored"]))),
        ("offset", Arc::new(Int64Array::from(vec![-2]))),
        ("score", Arc::new(Float64Array::from(vec![0.5]))),
        ("note", Arc::new(StringArray::from(vec![None::<&str>]))),
    ]);
    let columns = Columns::of(&rows.schema()).unwrap();
    assert_eq!(
        columns.text(),
        "kind:text\noffset:int\nscore:f64\nnote:text\n"
    );
    assert_eq!(
        columns.digest().to_string(),
        "a44ba16df3b69a90962188bbd68b37e68f70b56d6a8771bf9fa8e2e10419171e"
    );
    assert_eq!(
        leaves_of(&rows)[0].to_string(),
        "3e91427fcf27ee31b42ef471cb62a45d19f2e24bd1bcca4516223f42e2bdaaea"
    );
}

#[test]
fn how_a_value_is_stored_does_not_matter() {
    let texts: [ArrayRef; 3] = [
        Arc::new(StringArray::from(vec![
            Some("a"),
            None,
            Some(""),
            Some("a"),
        ])),
        Arc::new(StringViewArray::from(vec![
            Some("a"),
            None,
            Some(""),
            Some("a"),
        ])),
        // One null is among the values, and one value is there twice.
        Arc::new(
            DictionaryArray::<Int32Type>::try_new(
                Int32Array::from(vec![3, 0, 2, 1]),
                Arc::new(StringArray::from(vec![
                    None,
                    Some("a"),
                    Some(""),
                    Some("a"),
                ])),
            )
            .unwrap(),
        ),
    ];
    let ints: [ArrayRef; 3] = [
        Arc::new(Int8Array::from(vec![-1, 0, 1, 127])),
        Arc::new(Int32Array::from(vec![-1, 0, 1, 127])),
        Arc::new(Int64Array::from(vec![-1, 0, 1, 127])),
    ];
    let found: Vec<Vec<Digest>> = texts
        .into_iter()
        .zip(ints)
        .map(|(text, int)| leaves_of(&batch(vec![("t", text), ("i", int)])))
        .collect();
    assert_eq!(found[0], found[1]);
    assert_eq!(found[0], found[2]);
    assert_eq!(found[0].len(), 4);
}

#[test]
fn what_differs_has_another_leaf() {
    let texts = StringArray::from(vec![None, Some(""), Some("\0"), Some("a"), Some("ab")]);
    let floats = Float64Array::from(vec![0.0, -0.0, 1.0, 1.0_f64.next_up(), f64::NAN]);
    for column in [Arc::new(texts) as ArrayRef, Arc::new(floats)] {
        let mut found = leaves_of(&batch(vec![("c", column)]));
        found.sort_by_key(|leaf| leaf.0);
        found.dedup();
        assert_eq!(found.len(), 5);
    }
    // The same texts, cut in another place; the same row under another name.
    let row = |name, a, b| {
        let (a, b) = (StringArray::from(vec![a]), StringArray::from(vec![b]));
        leaves_of(&batch(vec![(name, Arc::new(a)), ("b", Arc::new(b))]))
    };
    assert_ne!(row("a", "xy", "z"), row("a", "x", "yz"));
    assert_ne!(row("a", "x", "y"), row("c", "x", "y"));
}

#[test]
fn a_text_that_is_no_columns_text_is_refused() {
    let refused = |text: &str, why: &str| {
        let error = Columns::parse(text.as_bytes()).unwrap_err();
        assert!(error.contains(why), "{text:?}: {error}");
    };
    for text in ["", "a:int", "a:int\n\nb:int"] {
        refused(text, "newline");
    }
    for text in [
        "\n",
        "a\n",
        "a:\n",
        "a:integer\n",
        "a:INT\n",
        "a: int\n",
        "a:int \n",
        "a:int\r\n",
        "a:b:int\n",
        "a:int\n\nb:int\n",
        "a:decimal\n",
        "a:decimal(0,0)\n",
        "a:decimal(39,0)\n",
        "a:decimal(5,6)\n",
        "a:decimal(05,2)\n",
        "a:decimal(+5,2)\n",
        "a:decimal(5, 2)\n",
        "a:decimal(5,-2)\n",
    ] {
        refused(text, "not `name:kind`");
    }
    for text in [":int\n", "a\tb:int\n", "a\u{1b}[31m:int\n", "a\r:int\n"] {
        refused(text, "control character");
    }
    refused("a:int\nb:text\na:int\n", "two columns \"a\"");
    assert!(
        Columns::parse(b"a\xff:int\n")
            .unwrap_err()
            .contains("UTF-8")
    );
    let text = "a:int\nA:decimal(38,38)\n";
    assert_eq!(Columns::parse(text.as_bytes()).unwrap().text(), text);
}

#[test]
fn a_file_with_other_columns_is_refused_by_the_columns_name() {
    let columns = Columns::parse(b"a:int\nb:decimal(9,2)\n").unwrap();
    let refused = |fields: &[(&str, DataType)], why: &str| {
        let field = |(name, kind): &(&str, DataType)| Field::new(*name, kind.clone(), true);
        let schema = Schema::new(fields.iter().map(field).collect::<Vec<_>>());
        let error = Leaves::new(&columns, &schema).err().unwrap();
        assert!(error.contains(why), "{error}");
    };
    let (a, b) = (("a", DataType::Int16), ("b", DataType::Decimal128(9, 2)));
    refused(std::slice::from_ref(&a), "no column \"b\"");
    refused(
        &[a.clone(), b.clone(), ("c", DataType::Utf8)],
        "column \"c\" that",
    );
    refused(&[a.clone(), b.clone(), a.clone()], "column \"a\" that");
    refused(
        &[("a", DataType::Float64), b.clone()],
        "\"a\" is of f64, and was of int",
    );
    refused(
        &[a.clone(), ("b", DataType::Decimal128(10, 2))],
        "\"b\" is of decimal(10,2)",
    );
    refused(&[("a", DataType::UInt8), b], "\"a\" is of type UInt8");
}

#[test]
fn a_type_without_a_cell_is_refused() {
    let types = [
        DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        DataType::UInt32,
        DataType::Float16,
        DataType::Date64,
        DataType::Decimal128(9, -2),
        DataType::Dictionary(DataType::Int8.into(), DataType::Utf8.into()),
        DataType::Null,
    ];
    for data_type in types {
        let schema = Schema::new(vec![Field::new("when", data_type, true)]);
        let error = Columns::of(&schema).unwrap_err();
        assert!(error.contains("column \"when\" is of type"), "{error}");
    }
}

#[test]
fn cells_that_are_not_the_columns_are_refused_by_the_columns_name() {
    let refused = |kind: &str, cells: &[u8], why: &str| {
        let columns = Columns::parse(format!("first:int\nc:{kind}\n").as_bytes()).unwrap();
        let error = columns.decode(&[&[0], cells].concat()).unwrap_err();
        assert!(error.contains(why), "{kind} {cells:?}: {error}");
        assert!(
            error.contains("column \"c\"") || error.contains("follow"),
            "{error}"
        );
    };
    let wide = |number: i64| [&[1], &number.to_be_bytes()[..]].concat();
    refused("int", &[], "cut off");
    refused("int", &[1, 0, 0, 0, 0, 0, 0, 0], "cut off");
    refused(
        "int",
        &[2, 0, 0, 0, 0, 0, 0, 0, 0],
        "neither null nor a value",
    );
    refused("int", &[0, 0], "1 bytes follow");
    refused("bool", &[1, 2], "neither false nor true");
    refused("date", &wide(i64::from(i32::MAX) + 1), "too far");
    refused("f32", &[1, 0x7f, 0xc0, 0, 1], "another NaN");
    refused("f32", &[1, 0xff, 0xc0, 0, 0], "another NaN");
    refused("f64", &wide(0x7ff0_0000_0000_0001), "another NaN");
    refused("text", &[1, 0, 0, 0, 2, b'a'], "cut off");
    refused("text", &[1, 255, 255, 255, 255], "cut off");
    refused("text", &[1, 0, 0, 0, 1, 255], "not UTF-8");
    refused("bytes", &[1, 0, 0, 0], "cut off");
    refused(
        "decimal(2,1)",
        &[&[1], &100_i128.to_be_bytes()[..]].concat(),
        "too many digits",
    );
}

#[test]
fn values_show_themselves() {
    let decimal = |unscaled, scale| Value::Decimal { unscaled, scale };
    for (value, shown) in [
        (Value::Null, "null"),
        (Value::Text("null".into()), "\"null\""),
        (Value::Text("a\u{1b}\n\"é".into()), "\"a\\u{1b}\\n\\\"é\""),
        (Value::Bool(true), "true"),
        (Value::Int(i64::MIN), "-9223372036854775808"),
        (Value::Date(-1), "1969-12-31"),
        (Value::Date(i32::MAX), "day 2147483647"),
        (
            Value::Time(1_769_860_800_000_001),
            "2026-01-31T12:00:00.000001Z",
        ),
        (Value::Time(-1), "1969-12-31T23:59:59.999999Z"),
        (Value::Time(i64::MIN), "-9223372036854775808 µs"),
        (Value::F32(0.1), "0.1"),
        (Value::F64(-0.0), "-0.0"),
        (Value::F64(f64::NAN), "NaN"),
        (Value::Bytes(vec![0, 171]), "0x00ab"),
        (decimal(-5, 2), "-0.05"),
        (decimal(12345, 2), "123.45"),
        (decimal(7, 0), "7"),
        (decimal(0, 3), "0.000"),
    ] {
        assert_eq!(value.to_string(), shown);
    }
}
