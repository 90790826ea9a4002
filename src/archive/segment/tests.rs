use super::*;
use crate::archive::fixture::{NOON, Topic, context};
use crate::evidence::{Header, Reader, head};
use arrow::array::{Array as _, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::ReaderProperties;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::file::serialized_reader::ReadOptionsBuilder;

fn start(partition: i32, covered: i64) -> Start {
    Start {
        stream: crate::archive::ledger::tests::stream(partition),
        first: NextPosition(0),
        prev_head: Digest::ZERO,
        covered: Offset(covered),
        time: NOON,
        day: Day::of(NOON).unwrap(),
        writer: "probity 0.1.0".into(),
    }
}

fn open(topic: &Topic, context: &Arc<Context>) -> Open {
    let mut open = Open::new(start(topic.partition, 0), context.clone()).unwrap();
    let mut reader = Reader::default();
    for record in &topic.records {
        let header = Header::parse(&record.header).unwrap();
        let (_, rows) = reader.rows(&header, &record.value).unwrap();
        let rows = Rows {
            position: record.position,
            header,
            rows,
        };
        open.push(
            rows,
            head(&record.header, &record.value),
            record.value.len(),
        )
        .unwrap();
    }
    open
}

fn small() -> (Topic, Arc<Context>) {
    let context = context("1");
    let mut topic = Topic::new(3);
    topic.skip(2);
    topic.write(&context, 20, NOON);
    topic.skip(1);
    topic.write(&context, 1, NOON - 5);
    topic.write(&context, 40, NOON + 7);
    (topic, context)
}

fn read(bytes: &Bytes) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap();
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap()
}

#[test]
fn the_parquet_schema_is_this_one() {
    let (topic, context) = small();
    let closed = open(&topic, &context).close().unwrap();
    let reader = SerializedFileReader::new(closed.bytes).unwrap();
    let mut text = Vec::new();
    parquet::schema::printer::print_schema(&mut text, reader.metadata().file_metadata().schema());
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text, include_str!("golden.schema"));
}

#[test]
fn rows_come_back_in_order_with_what_holds_for_their_message() {
    let (topic, context) = small();
    let closed = open(&topic, &context).close().unwrap();
    let rows = read(&closed.bytes);
    assert_eq!(rows.num_rows(), 61);
    assert_eq!(closed.rows, 61);
    let number = |name: &str| rows[name].as_primitive::<Int64Type>().values().to_vec();
    let mut expected = Vec::new();
    for (len, position) in [(20, 2), (1, 4), (40, 5)] {
        expected.extend(std::iter::repeat_n(position, len));
    }
    assert_eq!(number("evidence_position"), expected);
    let (offsets, nexts) = (number("offset"), number("next_offset"));
    assert_eq!(offsets[1..], nexts[..60], "the rows tile");
    let texts = rows["model_name"].as_string::<i32>();
    assert!(texts.iter().all(|text| text == Some("card-risk")));
    assert_eq!(*rows["model_name"].data_type(), DataType::Utf8);
    let kinds = closed.kinds;
    assert_eq!(kinds.scored + kinds.rejected + kinds.gaps, 61);
    assert_eq!(
        kinds.gaps as usize,
        offsets.iter().filter(|o| *o % 7 == 5).count()
    );
    assert_eq!(
        kinds.rejected as usize,
        rows["reject_reason"].len() - rows["reject_reason"].null_count()
    );
    assert_eq!((closed.min_time, closed.max_time), (NOON - 5, NOON + 7));
}

#[test]
fn the_entry_says_what_the_file_holds() {
    let (topic, context) = small();
    let closed = open(&topic, &context).close().unwrap();
    let entry = closed.entry(9);
    assert_eq!(
        (entry.first, entry.next),
        (NextPosition(0), NextPosition(6))
    );
    assert_eq!(entry.coverage[0].next.0, topic.offset);
    assert_eq!(entry.coverage[0].partition, 3);
    assert_eq!((entry.prev_head, entry.head), (Digest::ZERO, topic.head));
    assert_eq!(entry.sha256, Digest::of(&closed.bytes));
    assert_eq!(entry.bytes, closed.bytes.len() as u64);
    assert!(
        entry
            .path
            .ends_with("payments.evidence-3-00000000000000000000-9.parquet"),
        "{}",
        entry.path
    );
    let reader = SerializedFileReader::new(closed.bytes).unwrap();
    let file = reader.metadata().file_metadata();
    assert_eq!(file.created_by(), Some("probity 0.1.0"));
    let pairs: Vec<String> = file
        .key_value_metadata()
        .unwrap()
        .iter()
        .map(|pair| format!("{}={}", pair.key, pair.value.as_deref().unwrap()))
        .collect();
    assert_eq!(
        pairs[3..6],
        ["probity.partition=3", "probity.first=0", "probity.next=6"]
    );
    assert_eq!(pairs.len(), 10, "{pairs:?}");
}

#[test]
fn the_same_messages_give_the_same_bytes() {
    let context = context("1");
    let mut topic = Topic::new(0);
    for i in 0..200 {
        topic.write(&context, 1 + i % 30, NOON + i as i64);
    }
    let once = open(&topic, &context).close().unwrap();
    let again = std::thread::scope(|scope| {
        let other = scope.spawn(|| open(&topic, &context).close().unwrap());
        other.join().unwrap()
    });
    assert_eq!(once.bytes, again.bytes);
}

#[test]
fn each_column_is_written_in_its_way() {
    let (topic, context) = small();
    let closed = open(&topic, &context).close().unwrap();
    let options = ReadOptionsBuilder::new()
        .with_page_index()
        .with_reader_properties(
            ReaderProperties::builder()
                .set_read_bloom_filter(true)
                .build(),
        )
        .build();
    let reader = SerializedFileReader::new_with_options(closed.bytes, options).unwrap();
    let group = reader.metadata().row_group(0);
    let column = |name: &str| {
        let mut columns = group.columns().iter();
        columns
            .find(|column| column.column_path().string() == name)
            .unwrap()
    };
    let is_random = |name: &str| ["payload_commitment", "row_salt"].contains(&name);
    for column in group.columns() {
        let name = column.column_path().string();
        let is_compressed = matches!(column.compression(), Compression::ZSTD(_));
        assert_eq!(is_compressed, !is_random(&name), "{name}");
        assert!(column.offset_index_offset().is_some());
        assert_eq!(column.statistics().is_some(), !is_random(&name), "{name}");
    }
    let encodings = |name: &str| column(name).encodings().collect::<Vec<_>>();
    for name in [
        "offset",
        "score_time",
        "evidence_position",
        "event_amount_minor",
        "partition",
    ] {
        assert!(
            encodings(name).contains(&Encoding::DELTA_BINARY_PACKED),
            "{name}"
        );
    }
    for name in ["score", "margin", "threshold", "feature_amount"] {
        assert!(
            encodings(name).contains(&Encoding::BYTE_STREAM_SPLIT),
            "{name}"
        );
    }
    for name in ["kind", "model_sha256", "decision"] {
        assert!(column(name).dictionary_page_offset().is_some(), "{name}");
    }
    for name in [
        "event_id",
        "offset",
        "score",
        "payload_commitment",
        "row_salt",
    ] {
        assert!(column(name).dictionary_page_offset().is_none(), "{name}");
    }
    let filter = reader.get_row_group(0).unwrap();
    let at = group
        .columns()
        .iter()
        .position(|c| c.column_path().string() == "event_id")
        .unwrap();
    let filter = filter.get_column_bloom_filter(at).unwrap();
    assert!(filter.check(&"tx-3-000000000001"));
    assert!(!filter.check(&"tx-3-100000000000"));
}

#[test]
fn a_context_that_is_not_of_evidence_is_refused() {
    let good = context("1");
    let without: Vec<_> = good
        .schema()
        .fields()
        .iter()
        .filter(|f| f.name() != "kind")
        .cloned()
        .collect();
    let bad = Arc::new(Context::new(&Schema::new(without), good.facts().clone()));
    let error = Open::new(start(0, 0), bad).err().unwrap();
    assert!(error.contains("`kind`"), "{error}");
    let mut more: Vec<_> = good.schema().fields().iter().cloned().collect();
    more.push(Arc::new(arrow::datatypes::Field::new(
        "more",
        DataType::Utf8,
        true,
    )));
    let bad = Arc::new(Context::new(&Schema::new(more), good.facts().clone()));
    assert!(Open::new(start(0, 0), bad).is_err());
}

#[test]
fn ids_of_columns_are_distinct() {
    let columns = Columns::new(&context("1"), "w").unwrap();
    let fields = columns.schema().fields();
    let mut ids: Vec<_> = fields
        .iter()
        .map(|f| f.metadata()[crate::evidence::FIELD_ID].clone())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), fields.len());
}

#[test]
fn open_segments_are_kept_small() {
    let context = context("1");
    let mut topic = Topic::new(0);
    for i in 0..100 {
        topic.write(&context, 1000, NOON + i);
    }
    let raw: usize = topic.records.iter().map(|record| record.value.len()).sum();
    let open = open(&topic, &context);
    assert_eq!(open.rows(), 100_000);
    assert!(open.memory() < raw, "{} of {raw} bytes", open.memory());
    assert!(open.bytes() < open.memory());
}
