use super::*;
use crate::record::{Decision, Reason, Rejection, Stage};
use arrow::array::{Array as _, ArrayRef, AsArray as _, Float32Array, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type};
use proptest::prelude::*;

fn facts() -> Facts {
    Facts {
        cluster_id: "cluster".into(),
        input_topic: "payments".into(),
        input_topic_id: "id".into(),
        input_schema: Digest::of(b"schema").to_string(),
        event_id: "event_id".into(),
        event_time: "event_time".into(),
        model_name: "card-risk".into(),
        model_version: "1".into(),
        model_sha256: Digest::of(b"model").to_string(),
        package_sha256: Digest::of(b"package").to_string(),
        policy_version: "1".into(),
        policy_sha256: Digest::of(b"policy").to_string(),
        runtime: "onnxruntime 1".into(),
        runtime_sha256: Digest::of(b"runtime").to_string(),
        provider: "cpu".into(),
        admission: "deterministic".into(),
        config_sha256: Digest::of(b"config").to_string(),
        commitment_key: "commitment-0123456789abcdef".into(),
        shadows: Vec::new(),
    }
}

fn context() -> Arc<Context> {
    let schema = row_schema(
        &[Field::new("id", DataType::Utf8, true)],
        &[Field::new("amount", DataType::Float32, true)],
        &[],
    );
    Arc::new(Context::new(&schema.unwrap(), facts()))
}

#[test]
fn what_only_some_packages_have_comes_last_with_an_id_of_its_name() {
    let features = [Field::new("amount", DataType::Float32, true)];
    let texts = [columns::RULE, columns::EXPLANATION];
    let schema = row_schema(&[], &features, &texts).unwrap();
    let fields = schema.fields().iter().rev().take(3);
    let names: Vec<&str> = fields.clone().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["explanation", "rule", "feature_amount"]);
    for field in fields.take(2) {
        assert_eq!(
            (field.data_type(), field.is_nullable()),
            (&DataType::Utf8, true)
        );
        let id = field_id(field.name()).to_string();
        assert_eq!(field.metadata()[FIELD_ID], id);
    }
}

/// Rows from `first` on; `lens` are how many offsets each covers, more than one being a gap.
fn rows(context: &Context, first: i64, lens: &[i64]) -> (RecordBatch, NextOffset) {
    let mut at = first;
    let places: Vec<Place> = lens
        .iter()
        .enumerate()
        .map(|(i, len)| {
            let offset = Offset(at);
            at += len;
            let kind = match (len, i % 3) {
                (2.., _) => Kind::Gap,
                (_, 0) => Kind::Rejected,
                _ => Kind::Scored,
            };
            let rejection =
                (kind == Kind::Rejected).then(|| Rejection::new(Stage::Decode, Reason::Malformed));
            Place {
                kind,
                offset,
                next: NextOffset(at),
                broker_time: Some(i as i64),
                leader_epoch: Some(7),
                batch_row: Some(i as i32),
                rejection,
                flags: Flags::default(),
                seal: seal(kind, offset),
            }
        })
        .collect();
    let verdicts: Vec<_> = places
        .iter()
        .map(|p| {
            (p.kind == Kind::Scored).then_some(Verdict {
                score: 0.5,
                margin: None,
                decision: Decision::Review,
                threshold: Some(0.25),
                chunk_rows: 64,
            })
        })
        .collect();
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values(
        lens.iter().map(i64::to_string),
    ));
    let amounts: ArrayRef = Arc::new(Float32Array::from_iter_values(
        lens.iter().map(|&l| l as f32),
    ));
    (
        lay_out(context.schema(), &places, &verdicts, &[ids, amounts]),
        NextOffset(at),
    )
}

fn seal(kind: Kind, offset: Offset) -> Seal {
    let payload = Payload {
        bytes: 300,
        commitment: Digest::of(&offset.0.to_be_bytes()).0,
    };
    Seal {
        payload: (kind != Kind::Gap).then_some(payload),
        salt: [offset.0 as u8; SALT_LEN],
    }
}

fn range(first: i64, next: NextOffset, brings_context: bool) -> Range {
    Range {
        first: Offset(first),
        next,
        ingest_time: 1,
        score_time: 2,
        prev: Digest::ZERO,
        brings_context,
    }
}

#[test]
fn a_row_says_what_it_was_made_of_and_a_gap_only_its_salt() {
    let context = context();
    let place = |kind, offset: i64| Place {
        kind,
        offset: Offset(offset),
        next: NextOffset(offset + 1),
        broker_time: None,
        leader_epoch: (kind != Kind::Gap).then_some(7),
        batch_row: (kind != Kind::Gap).then_some(2),
        rejection: None,
        flags: Flags {
            imputed: kind != Kind::Gap,
            unknown_fields: kind == Kind::Rejected,
        },
        seal: seal(kind, Offset(offset)),
    };
    let verdict = Verdict {
        score: 0.5,
        margin: None,
        decision: Decision::Review,
        threshold: Some(0.25),
        chunk_rows: 64,
    };
    let ids: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>; 3]));
    let amounts: ArrayRef = Arc::new(Float32Array::from(vec![None; 3]));
    let rows = lay_out(
        context.schema(),
        &[
            place(Kind::Scored, 4),
            place(Kind::Rejected, 5),
            place(Kind::Gap, 6),
        ],
        &[Some(verdict), None, None],
        &[ids, amounts],
    );
    let column = |name| rows.column_by_name(name).unwrap();
    let numbers = |name| {
        let numbers = column(name).as_primitive::<Int32Type>().iter();
        numbers.collect::<Vec<_>>()
    };
    assert_eq!(numbers("leader_epoch"), [Some(7), Some(7), None]);
    assert_eq!(numbers("payload_bytes"), [Some(300), Some(300), None]);
    assert_eq!(numbers("batch_row"), [Some(2), Some(2), None]);
    assert_eq!(numbers("flags"), [Some(1), Some(3), Some(0)]);
    let thresholds = column("threshold").as_primitive::<Float64Type>();
    assert_eq!(
        thresholds.iter().collect::<Vec<_>>(),
        [Some(0.25), None, None]
    );
    let bytes = |name| column(name).as_fixed_size_binary();
    let commitments = bytes("payload_commitment");
    assert_eq!(commitments.value(1), Digest::of(&5i64.to_be_bytes()).0);
    assert!(commitments.is_null(2) && commitments.null_count() == 1);
    assert_eq!(bytes("row_salt").value(2), [6; SALT_LEN]);
    assert!(
        !rows
            .schema()
            .field_with_name("row_salt")
            .unwrap()
            .is_nullable()
    );
}

#[test]
fn header_is_102_bytes_and_reads_back() {
    let header = Header {
        brings_context: true,
        first: Offset(7),
        next: NextOffset(9),
        rows: 2,
        ingest_time: 1_700_000_000_000_000,
        score_time: 1_700_000_000_000_001,
        context: Digest::of(b"c"),
        prev: Digest::of(b"p"),
    };
    assert_eq!(Header::LEN, 102);
    assert_eq!(Header::parse(&header.to_bytes()).unwrap(), header);
}

#[test]
fn header_refuses_what_cannot_be() {
    let good = Header {
        brings_context: false,
        first: Offset(7),
        next: NextOffset(9),
        rows: 2,
        ingest_time: 0,
        score_time: 0,
        context: Digest::ZERO,
        prev: Digest::ZERO,
    };
    let refused = |header: Header| Header::parse(&header.to_bytes()).unwrap_err().to_string();
    assert!(
        refused(Header {
            next: NextOffset(7),
            ..good
        })
        .contains("range")
    );
    assert!(refused(Header { rows: 3, ..good }).contains("rows"));
    assert!(refused(Header { rows: 0, ..good }).contains("rows"));
    let mut bytes = good.to_bytes();
    bytes[0] = 2;
    assert!(
        Header::parse(&bytes)
            .unwrap_err()
            .to_string()
            .contains("version")
    );
    assert!(
        Header::parse(&bytes[1..])
            .unwrap_err()
            .to_string()
            .contains("length")
    );
}

#[test]
fn context_bytes_are_a_function_of_its_contents() {
    let (a, b) = (context(), context());
    assert_eq!(a.bytes(), b.bytes());
    let read = Context::parse(a.bytes()).unwrap();
    assert_eq!(read.facts(), a.facts());
    assert_eq!(read.schema(), a.schema());
    assert_eq!(read.digest(), a.digest());
    let cut = &a.bytes()[..a.bytes().len() - 8];
    assert!(Context::parse(cut).is_err());
}

#[test]
fn later_messages_are_read_with_the_context_of_an_earlier_one() {
    let context = context();
    let writer = Writer::new(context.clone());
    let (first_rows, next) = rows(&context, 0, &[1, 1]);
    let (first, _) = writer
        .write(&first_rows, range(0, next, true), 1 << 20)
        .unwrap();
    let (more_rows, end) = rows(&context, 2, &[1, 5, 1]);
    let (second, _) = writer
        .write(&more_rows, range(2, end, false), 1 << 20)
        .unwrap();
    assert!(second[0].value.len() < first[0].value.len());

    let mut reader = Reader::default();
    let unknown = reader
        .rows(&second[0].header, &second[0].value)
        .unwrap_err();
    assert!(matches!(unknown, EvidenceError::UnknownContext(_)));
    let (_, read) = reader.rows(&first[0].header, &first[0].value).unwrap();
    assert_eq!(read, first_rows);
    let (_, read) = reader.rows(&second[0].header, &second[0].value).unwrap();
    assert_eq!(read, more_rows);
}

#[test]
fn damaged_values_are_refused_and_spoil_nothing_after_them() {
    let context = context();
    let writer = Writer::new(context.clone());
    let (batch, next) = rows(&context, 0, &[1, 1, 1]);
    let (messages, _) = writer.write(&batch, range(0, next, true), 1 << 20).unwrap();
    let Message { header, value, .. } = &messages[0];
    let mut reader = Reader::default();
    for len in 0..value.len() {
        assert!(reader.rows(header, &value[..len]).is_err(), "cut at {len}");
    }
    let longer = [value.as_slice(), &[0; 8]].concat();
    assert!(reader.rows(header, &longer).is_err());
    let other = Header {
        first: Offset(1),
        next: NextOffset(4),
        ..*header
    };
    assert!(reader.rows(&other, value).is_err());
    assert_eq!(reader.rows(header, value).unwrap().1, batch);
}

#[test]
fn one_row_that_does_not_fit_is_named() {
    let context = context();
    let writer = Writer::new(context.clone());
    let (batch, next) = rows(&context, 0, &[1, 1, 1]);
    assert_eq!(
        writer.write(&batch, range(0, next, false), 10),
        Err(RowTooLarge(0))
    );
}

proptest! {
    #[test]
    fn split_messages_tile_the_range_and_chain(
        first in 0..1_000_000i64,
        lens in prop::collection::vec(prop_oneof![4 => Just(1i64), 1 => 2..50i64], 1..200),
        limit in 1_500usize..20_000,
    ) {
        let context = context();
        let writer = Writer::new(context.clone());
        let (batch, next) = rows(&context, first, &lens);
        let Ok((messages, last)) = writer.write(&batch, range(first, next, false), limit) else {
            return Err(TestCaseError::reject("limit below one row"));
        };
        let mut reader = Reader::default();
        reader.learn(context).unwrap();
        let (mut prev, mut expected, mut read) = (Digest::ZERO, first, Vec::new());
        for Message { header, value, head: link } in &messages {
            prop_assert!(value.len() <= limit);
            prop_assert_eq!(header.prev, prev);
            prop_assert_eq!(header.first.0, expected);
            prev = head(&header.to_bytes(), value);
            prop_assert_eq!(prev, *link);
            expected = header.next.0;
            read.push(reader.rows(header, value).unwrap().1);
        }
        prop_assert_eq!(prev, last);
        prop_assert_eq!(NextOffset(expected), next);
        prop_assert_eq!(arrow::compute::concat_batches(&batch.schema(), &read).unwrap(), batch);
    }

    #[test]
    fn arbitrary_bytes_are_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Header::parse(&bytes);
        let _ = Context::parse(&bytes);
    }
}
