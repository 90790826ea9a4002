use super::random::{sized, zigzag};
use super::*;

fn reader(reads: &str, writes: &str) -> Result<Decoder, SchemaError> {
    let registry = vec![(7, schema_of(writes))];
    Decoder::new(
        &schema_of(reads),
        Settings {
            registry,
            ..settings(Format::AvroRegistry)
        },
    )
}

/// A value under schema id 7.
fn framed(record: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 0, 7], record].concat()
}

/// What `record`, of one field, becomes when the types differ.
fn read(reads: &str, writes: &str, record: &[u8]) -> Result<Option<Cell>, Reason> {
    let field = |kind: &str| format!(r#"{{"name":"x","type":{kind}}}"#);
    let decoder = reader(&field(reads), &field(writes)).unwrap();
    decode_one(&decoder, framed(record)).map(|row| row[0].clone())
}

const INT: &str = r#""int""#;
const LONG: &str = r#""long""#;
const FLOAT: &str = r#""float""#;
const DOUBLE: &str = r#""double""#;
const STRING: &str = r#""string""#;
const MILLIS: &str = r#"{"type":"long","logicalType":"timestamp-millis"}"#;
const MICROS: &str = r#"{"type":"long","logicalType":"timestamp-micros"}"#;
const MONEY: &str = r#"{"type":"bytes","logicalType":"decimal","precision":5,"scale":2}"#;
const RATE: &str = r#"{"type":"bytes","logicalType":"decimal","precision":5,"scale":3}"#;

#[test]
fn truncated_record_is_malformed_at_every_length_and_costs_no_neighbour() {
    let schema = schema_of(
        r#"{"name":"s","type":"string"}, {"name":"d","type":["null","double"]},
           {"name":"n","type":"long"}"#,
    );
    let decoder = decoder(&schema, Format::Avro);
    let whole = [
        sized(b"payment"),
        zigzag(1),
        2.5_f64.to_le_bytes().to_vec(),
        zigzag(-300),
    ];
    let whole = whole.concat();
    let expected = vec![
        text("payment"),
        Some(Cell::Double(2.5)),
        Some(Cell::Long(-300)),
    ];
    for len in 1..whole.len() {
        let decoded = decode_all(&decoder, &[&whole[..], &whole[..len], &whole[..]]);
        let reasons: Vec<_> = decoded
            .rejected
            .iter()
            .map(|r| r.map(|r| r.reason))
            .collect();
        assert_eq!(reasons, [None, Some(Reason::Malformed), None], "{len}");
        assert_eq!(row(&decoded, 0), expected);
        assert_eq!(row(&decoded, 1), [None, None, None]);
        assert_eq!(row(&decoded, 2), expected);
    }
    let trailing = [whole.as_slice(), &[0]].concat();
    assert_eq!(decode_one(&decoder, trailing), Err(Reason::Malformed));
}

#[test]
fn bytes_that_are_no_value_of_their_type_are_refused() {
    let enumeration = r#"{"type":"enum","name":"E","symbols":["a","b"]}"#;
    for (kind, record, reason) in [
        (STRING, sized(b"\xff"), Reason::NotUtf8),
        (STRING, zigzag(-1), Reason::Malformed),
        (STRING, zigzag(i64::MAX), Reason::Malformed),
        (INT, zigzag(1 << 31), Reason::Malformed),
        (LONG, vec![0xff; 10], Reason::Malformed),
        (LONG, [vec![0xff; 9], vec![2]].concat(), Reason::Malformed),
        (r#""boolean""#, vec![2], Reason::Malformed),
        (r#"["null","int"]"#, zigzag(2), Reason::Malformed),
        (r#"["null","int"]"#, zigzag(-1), Reason::Malformed),
        (enumeration, zigzag(2), Reason::UnknownSymbol),
        (enumeration, zigzag(-1), Reason::Malformed),
        (FLOAT, f32::NAN.to_le_bytes().to_vec(), Reason::OutOfRange),
        (DOUBLE, f64::NAN.to_le_bytes().to_vec(), Reason::OutOfRange),
        (
            DOUBLE,
            f64::INFINITY.to_le_bytes().to_vec(),
            Reason::OutOfRange,
        ),
        (
            DOUBLE,
            f64::NEG_INFINITY.to_le_bytes().to_vec(),
            Reason::OutOfRange,
        ),
        (MILLIS, zigzag(i64::MAX), Reason::OutOfRange),
        (MONEY, sized(b""), Reason::Malformed),
        (MONEY, sized(&100_000_i32.to_be_bytes()), Reason::OutOfRange),
        (MONEY, sized(&[0x7f; 17]), Reason::OutOfRange),
    ] {
        assert_eq!(read(kind, kind, &record), Err(reason), "{kind} {record:?}");
    }
    assert_eq!(
        read(LONG, LONG, &zigzag(i64::MIN)),
        Ok(Some(Cell::Long(i64::MIN)))
    );
}

#[test]
fn registry_header_selects_the_writer() {
    let registry = vec![
        (700, schema_of(r#"{"name":"x","type":"string"}"#)),
        (
            7,
            schema_of(r#"{"name":"more","type":"long"}, {"name":"x","type":"string"}"#),
        ),
    ];
    let schema = schema_of(r#"{"name":"x","type":"string"}"#);
    let settings = Settings {
        registry,
        ..settings(Format::AvroRegistry)
    };
    let decoder = Decoder::new(&schema, settings).unwrap();
    let values = [
        [&[0, 0, 0, 2, 0xbc], sized(b"old").as_slice()].concat(),
        framed(&[zigzag(1), sized(b"new")].concat()),
        [&[0, 0, 0, 0, 8], sized(b"?").as_slice()].concat(),
        [&[1, 0, 0, 0, 7], sized(b"?").as_slice()].concat(),
        vec![0, 0, 0, 0],
        framed(b""),
        [&[0, 0, 0, 2, 0xbc], sized(b"again").as_slice()].concat(),
    ];
    let decoded = decode_all(&decoder, &values);
    let reasons: Vec<_> = decoded
        .rejected
        .iter()
        .map(|r| r.map(|r| r.reason))
        .collect();
    let malformed = Some(Reason::Malformed);
    let unknown = Some(Reason::UnknownSchema);
    assert_eq!(
        reasons,
        [None, None, unknown, malformed, malformed, malformed, None]
    );
    let cells: Vec<_> = (0..7).map(|at| row(&decoded, at).remove(0)).collect();
    assert_eq!(
        cells,
        [
            text("old"),
            text("new"),
            None,
            None,
            None,
            None,
            text("again")
        ]
    );
    assert_eq!(decoded.unknown_fields, 1);
}

#[test]
fn writers_types_are_promoted_as_avro_says() {
    let float = 0.1_f32.to_le_bytes();
    for (reads, writes, record, expected) in [
        (LONG, INT, zigzag(-5), Cell::Long(-5)),
        (FLOAT, INT, zigzag(16_777_217), Cell::Float(16_777_216.0)),
        (FLOAT, LONG, zigzag(3), Cell::Float(3.0)),
        (DOUBLE, INT, zigzag(-5), Cell::Double(-5.0)),
        (
            DOUBLE,
            LONG,
            zigzag(1 << 40),
            Cell::Double(1_099_511_627_776.0),
        ),
        (
            DOUBLE,
            FLOAT,
            float.to_vec(),
            Cell::Double(f64::from(0.1_f32)),
        ),
        (MICROS, MILLIS, zigzag(5), Cell::Micros(5000)),
        (MILLIS, MICROS, zigzag(5), Cell::Micros(5)),
        (r#"["null","long"]"#, INT, zigzag(1), Cell::Long(1)),
        (
            LONG,
            r#"["int","null"]"#,
            [zigzag(0), zigzag(1)].concat(),
            Cell::Long(1),
        ),
    ] {
        assert_eq!(
            read(reads, writes, &record),
            Ok(Some(expected)),
            "{writes} as {reads}"
        );
    }
    assert_eq!(
        read(LONG, r#"["null","long"]"#, &zigzag(0)),
        Err(Reason::MissingField)
    );
    assert_eq!(
        read(r#"["null","long"]"#, r#"["long","null"]"#, &zigzag(1)),
        Ok(None)
    );
}

#[test]
fn symbols_meet_by_name_and_unlisted_ones_take_the_default() {
    let written = r#"{"type":"enum","name":"E","symbols":["c","b","a"]}"#;
    let plain = r#"{"type":"enum","name":"E","symbols":["a","b"]}"#;
    let lenient = r#"{"type":"enum","name":"E","symbols":["a","b"],"default":"b"}"#;
    assert_eq!(read(plain, written, &zigzag(2)), Ok(text("a")));
    assert_eq!(read(plain, written, &zigzag(0)), Err(Reason::UnknownSymbol));
    assert_eq!(read(lenient, written, &zigzag(0)), Ok(text("b")));
}

#[test]
fn fields_meet_by_name_or_alias_and_the_rest_is_filled_or_passed_over() {
    let reads = r#"{"name":"n","type":"long"}, {"name":"card","type":"string","aliases":["pan"]},
                   {"name":"note","type":["null","string"]},
                   {"name":"mcc","type":"int","default":5411}"#;
    let money = MONEY;
    let fixed = r#"{"type":"fixed","name":"F","size":3,"logicalType":"decimal","precision":4}"#;
    let writes = format!(
        r#"{{"name":"pan","type":"string"}}, {{"name":"a","type":["null","string"]}},
           {{"name":"b","type":{money}}}, {{"name":"c","type":{fixed}}},
           {{"name":"d","type":"double"}}, {{"name":"e","type":"float"}},
           {{"name":"f","type":"boolean"}}, {{"name":"g","type":["null","long"]}},
           {{"name":"n","type":"int"}}"#
    );
    let record = [
        sized(b"tok"),
        [zigzag(1), sized(b"a")].concat(),
        sized(&[1, 2]),
        vec![1, 2, 3],
        vec![0xff; 8],
        vec![0xff; 4],
        vec![1],
        zigzag(0),
        zigzag(9),
    ];
    let decoder = reader(reads, &writes).unwrap();
    let decoded = decode_all(&decoder, &[framed(&record.concat())]);
    assert_eq!(decoded.rejected, [None]);
    let expected = [
        Some(Cell::Long(9)),
        text("tok"),
        None,
        Some(Cell::Int(5411)),
    ];
    assert_eq!(row(&decoded, 0), expected);
    assert_eq!(decoded.unknown_fields, 7);
}

#[test]
fn schemas_that_cannot_meet_are_refused_with_the_field() {
    let field = |kind: &str| format!(r#"{{"name":"x","type":{kind}}}"#);
    for (reads, writes) in [
        (INT, LONG),
        (FLOAT, DOUBLE),
        (LONG, DOUBLE),
        (STRING, INT),
        (LONG, STRING),
        (MICROS, LONG),
        (LONG, MICROS),
        (MONEY, RATE),
    ] {
        let error = reader(&field(reads), &field(writes))
            .err()
            .expect("the types cannot meet");
        assert_eq!(error.field.as_deref(), Some("x"), "{writes} as {reads}");
        assert!(error.to_string().contains("schema id 7"), "{error}");
    }
    let two = r#"{"name":"x","type":"int"}, {"name":"y","type":"int"}"#;
    let lacks = reader(two, &field(INT)).err().expect("y has no value");
    assert_eq!(lacks.field.as_deref(), Some("y"));

    let aliased = r#"{"name":"x","type":"int","aliases":["y"]}"#;
    let twice = reader(aliased, two).err().expect("x would have two values");
    assert_eq!(twice.field.as_deref(), Some("y"));

    let registry = vec![(7, schema_of(two))];
    let unknown_fields = UnknownFields::Reject;
    let strict = Settings {
        registry,
        unknown_fields,
        ..settings(Format::AvroRegistry)
    };
    let unknown = Decoder::new(&schema_of(&field(INT)), strict)
        .err()
        .expect("y is unknown");
    assert_eq!(unknown.field.as_deref(), Some("y"));

    let registry = vec![(7, schema_of(two)), (7, schema_of(two))];
    let twice = Settings {
        registry,
        ..settings(Format::AvroRegistry)
    };
    let error = Decoder::new(&schema_of(two), twice)
        .err()
        .expect("an id has one schema");
    assert!(error.to_string().contains("mapped twice"), "{error}");
}
