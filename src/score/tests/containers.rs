//! Avro object containers, whole and broken.

use super::*;

const SYNC: &[u8; 16] = b"sixteen bytes ok";
const WRITER: &str = r#"{"type":"record","name":"Event","fields":[
    {"name":"id","type":"string"},{"name":"more","type":"boolean"},{"name":"x","type":"double"}]}"#;

fn long(value: usize) -> Vec<u8> {
    let mut rest = value << 1;
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [long(text.len()), text.as_bytes().to_vec()].concat()
}

fn record(id: &str, x: f64) -> Vec<u8> {
    [text(id), vec![1], x.to_le_bytes().to_vec()].concat()
}

fn header(schema: &str, codec: &str) -> Vec<u8> {
    let entries = ["avro.schema", schema, "avro.codec", codec, "note", "any"].map(text);
    [
        b"Obj\x01".to_vec(),
        long(3),
        entries.concat(),
        long(0),
        SYNC.to_vec(),
    ]
    .concat()
}

fn block(records: &[Vec<u8>]) -> Vec<u8> {
    let bytes = records.concat();
    [long(records.len()), long(bytes.len()), bytes, SYNC.to_vec()].concat()
}

fn container(blocks: &[Vec<u8>]) -> Vec<u8> {
    [header(WRITER, "null"), blocks.concat()].concat()
}

fn refusal(bytes: Vec<u8>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "events", bytes);
    read(&path, &schema()).unwrap_err().to_string()
}

#[test]
fn records_of_all_blocks_come_in_order_by_their_writers_schema() {
    let folder = tempfile::tempdir().unwrap();
    let many: Vec<_> = (0..200).map(|n| record(&n.to_string(), 0.5)).collect();
    let blocks = [block(&[record("first", 1.5)]), block(&[]), block(&many)];
    let path = file(&folder, "events.avro", container(&blocks));
    let rows = read(&path, &schema()).unwrap();
    assert_eq!(rows.len(), 201);
    let id = |row: usize| rows[row].0[0].as_string::<i32>().value(0);
    assert_eq!((id(0), id(1), id(200)), ("first", "0", "199"));
    let none = file(&folder, "none.avro", container(&[]));
    assert!(read(&none, &schema()).unwrap().is_empty());
}

#[test]
fn a_value_that_is_refused_costs_its_own_record_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut not_utf8 = record("xx", 1.0);
    not_utf8[1] = 0xff;
    let records = [
        record("a", 1.0),
        record("b", f64::NAN),
        not_utf8,
        record("d", 2.0),
    ];
    let path = file(&folder, "events.avro", container(&[block(&records)]));
    let wanted = [None, Some(Reason::OutOfRange), Some(Reason::NotUtf8), None];
    assert_eq!(reasons(&path, &schema()), wanted);
}

#[test]
fn a_broken_container_is_refused_with_the_block() {
    let good = block(&[record("a", 1.0)]);
    let cut = |by: usize| {
        let mut bytes = container(&[good.clone(), good.clone()]);
        bytes.truncate(bytes.len() - by);
        bytes
    };
    let mut long_block = long(1);
    long_block.extend(long(13));
    long_block.extend([record("a", 1.0), vec![0, 0]].concat());
    long_block.extend(SYNC);
    let half = record("a", 1.0)[..5].to_vec();
    for (bytes, says) in [
        (cut(1), "block 2: the file ends within it"),
        (cut(20), "block 2: the file ends within it"),
        (
            container(&[[&good[..good.len() - 1], b"!"].concat()]),
            "block 1: no sync marker",
        ),
        (
            container(&[good.clone(), block(&[half])]),
            "block 2: its last 1 records are not whole",
        ),
        (
            container(&[long_block]),
            "block 1: it is longer than its records",
        ),
        (
            container(&[vec![1, 0]]),
            "block 1: it has a negative length",
        ),
        (container(&[vec![0xff; 12]]), "a length has too many bytes"),
    ] {
        let error = refusal(bytes);
        assert!(error.contains(says), "wanted {says}: {error}");
    }
}

#[test]
fn a_header_that_cannot_be_used_says_why() {
    let unreadable = WRITER.replace("double", "string");
    for (bytes, says) in [
        (header(WRITER, "deflate"), "its codec is \"deflate\""),
        (header("{}", "null"), "the schema in its header"),
        (header(&unreadable, "null"), "written as string"),
        (b"Obj\x01\x00".to_vec(), "the file ends within it"),
        ([&b"Obj\x01\x00"[..], SYNC].concat(), "no avro.schema"),
    ] {
        let error = refusal(bytes);
        assert!(error.contains(says), "wanted {says}: {error}");
    }
}
