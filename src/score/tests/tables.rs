//! Parquet files with the columns, types and values that other programs write.

use arrow::array::{
    Date64Array, Decimal128Array, Float32Array, Float64Array, Int32Array, Int64Array,
    TimestampNanosecondArray, UInt64Array,
};

use parquet::basic::Compression;

use super::*;
use crate::score::table;

/// The reasons for which rows are refused when `column` is read as the type `avro`.
fn refused(avro: &str, column: ArrayRef) -> Vec<Option<Reason>> {
    let folder = tempfile::tempdir().unwrap();
    reasons(&written(&folder, column), &field(avro))
}

fn field(avro: &str) -> InputSchema {
    schema_with(&format!(r#"{{"name":"x","type":{avro}}}"#))
}

fn written(folder: &TempDir, column: ArrayRef) -> PathBuf {
    let ids = StringArray::from_iter_values((0..column.len()).map(|row| row.to_string()));
    let batch = RecordBatch::try_from_iter([("id", Arc::new(ids) as ArrayRef), ("x", column)]);
    parquet(folder, "events.parquet", &batch.unwrap())
}

#[test]
fn a_value_is_refused_when_the_type_cannot_hold_it_exactly() {
    use Reason::{MissingField, OutOfRange, UnknownSymbol};
    let long = Int64Array::from(vec![Some(1), Some(1 << 40), None]);
    assert_eq!(
        refused("\"int\"", Arc::new(long)),
        [None, Some(OutOfRange), Some(MissingField)]
    );
    let unsigned = UInt64Array::from(vec![7, u64::MAX]);
    assert_eq!(
        refused("\"long\"", Arc::new(unsigned)),
        [None, Some(OutOfRange)]
    );
    let integers = Int64Array::from(vec![1 << 24, (1 << 24) + 1, i64::MAX]);
    assert_eq!(
        refused("\"float\"", Arc::new(integers)),
        [None, Some(OutOfRange), Some(OutOfRange)]
    );
    let doubles = Float64Array::from(vec![Some(0.1), Some(f64::NAN), Some(f64::INFINITY), None]);
    assert_eq!(
        refused(r#"["null","double"]"#, Arc::new(doubles)),
        [None, Some(OutOfRange), Some(OutOfRange), None]
    );
    let singles = Float32Array::from(vec![0.1, f32::NAN]);
    assert_eq!(
        refused("\"double\"", Arc::new(singles)),
        [None, Some(OutOfRange)]
    );
    let times = TimestampNanosecondArray::from(vec![1_000, 1_001]).with_timezone("UTC");
    let micros = r#"{"type":"long","logicalType":"timestamp-micros"}"#;
    assert_eq!(refused(micros, Arc::new(times)), [None, Some(OutOfRange)]);
    let millis = r#"{"type":"long","logicalType":"timestamp-millis"}"#;
    let numbers = Int64Array::from(vec![1_767_225_600_000, i64::MAX]);
    assert_eq!(refused(millis, Arc::new(numbers)), [None, Some(OutOfRange)]);
    let symbols = StringArray::from(vec!["a", "c"]);
    let closed = r#"{"type":"enum","name":"E","symbols":["a","b"]}"#;
    assert_eq!(
        refused(closed, Arc::new(symbols.clone())),
        [None, Some(UnknownSymbol)]
    );
    let open = r#"{"type":"enum","name":"E","symbols":["a","b"],"default":"b"}"#;
    assert_eq!(refused(open, Arc::new(symbols)), [None, None]);
    let money = Decimal128Array::from(vec![12_345, 12_340]);
    let money = money.with_precision_and_scale(10, 3).unwrap();
    let cents = r#"{"type":"bytes","logicalType":"decimal","precision":6,"scale":2}"#;
    assert_eq!(refused(cents, Arc::new(money)), [Some(OutOfRange), None]);
}

#[test]
fn a_refused_row_is_null_in_every_column_and_others_keep_their_values() {
    let folder = tempfile::tempdir().unwrap();
    let column = Int64Array::from(vec![5, i64::MAX, 6]);
    let rows = read(&written(&folder, Arc::new(column)), &field("\"int\"")).unwrap();
    assert!(rows[1].0.iter().all(|column| column.is_null(0)));
    let int = |row: usize| rows[row].0[1].as_primitive::<arrow::datatypes::Int32Type>();
    assert_eq!((int(0).value(0), int(2).value(0)), (5, 6));
    assert_eq!(rows[2].0[0].as_string::<i32>().value(0), "2");
}

#[test]
fn a_column_of_another_kind_or_none_at_all_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let text: ArrayRef = Arc::new(StringArray::from(vec!["1"]));
    let refusal = |schema: &InputSchema, column: ArrayRef| {
        let error = open_file(&written(&folder, column), schema).err().unwrap();
        error.to_string()
    };
    let error = refusal(&field("\"int\""), text);
    assert!(
        error.contains("column `x` is Utf8, which cannot be read as int"),
        "{error}"
    );
    let doubles: ArrayRef = Arc::new(Float64Array::from(vec![0.1]));
    let error = refusal(&field("\"float\""), doubles);
    assert!(error.contains("cannot be read as float"), "{error}");
    let days: ArrayRef = Arc::new(Date64Array::from(vec![0]));
    let error = refusal(
        &field(r#"{"type":"int","logicalType":"date"}"#),
        days.clone(),
    );
    assert!(error.contains("cannot be read as date"), "{error}");
    let error = refusal(&schema_with(r#"{"name":"y","type":"int"}"#), days);
    assert!(error.contains("no column `y`"), "{error}");
}

#[test]
fn a_missing_column_takes_its_default_or_null_where_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(&folder, Arc::new(Int32Array::from(vec![1])));
    let schema = schema_with(
        r#"{"name":"channel","type":"string","default":"pos"},
        {"name":"other","type":["null","int"]},
        {"name":"card","type":"string","personal":true},
        {"name":"y","type":"long","aliases":["x"]}"#,
    );
    let rows = read(&path, &schema).unwrap();
    let (columns, reason) = &rows[0];
    assert_eq!(*reason, None);
    assert_eq!(columns[1].as_string::<i32>().value(0), "pos");
    assert!(columns[2].is_null(0) && columns[3].is_null(0));
    let long = columns[4].as_primitive::<arrow::datatypes::Int64Type>();
    assert_eq!(long.value(0), 1);
}

#[test]
fn columns_that_nobody_knows_are_counted_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(&folder, Arc::new(Int32Array::from(vec![1, 2])));
    let schema = schema_with(r#"{"name":"other","type":["null","int"]}"#);
    let batch = open_file(&path, &schema).unwrap().next().unwrap().unwrap();
    assert_eq!(batch.payload().unknown_fields, 2);
    let (_, mut decoding) = setup::reading(&config(&[])).unwrap();
    decoding.unknown_fields = UnknownFields::Reject;
    let error = Input::open(&path, &schema, &decoding, LIMITS)
        .err()
        .unwrap();
    assert!(error.to_string().contains("no field x"), "{error}");
}

#[test]
fn a_compression_that_is_not_built_in_is_refused_with_the_column() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(&folder, Arc::new(Int32Array::from(vec![1])));
    let file = std::fs::File::open(path).unwrap();
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let metadata = builder.metadata().as_ref().clone();
    assert_eq!(table::check_compression(&metadata), Ok(()));
    let group = metadata.row_group(0).clone();
    let mut columns = group.columns().to_vec();
    let packed = columns[1].clone().into_builder();
    columns[1] = packed
        .set_compression(Compression::LZ4_RAW)
        .build()
        .unwrap();
    let group = group.into_builder().set_column_metadata(columns).build();
    let metadata = metadata
        .into_builder()
        .set_row_groups(vec![group.unwrap()])
        .build();
    let error = table::check_compression(&metadata).unwrap_err();
    assert!(
        error.starts_with("column `x` is compressed with LZ4_RAW"),
        "{error}"
    );
}
