use super::*;

fn one_field(kind: &str) -> Decoder {
    decoder(
        &schema_of(&format!(r#"{{"name":"x","type":{kind}}}"#)),
        Format::Json,
    )
}

/// What the text of a value becomes in a field of this type.
fn read(kind: &str, value: &str) -> Result<Option<Cell>, Reason> {
    let row = decode_one(&one_field(kind), format!(r#"{{"x":{value}}}"#))?;
    Ok(row[0].clone())
}

const MILLIS: &str = r#"{"type":"long","logicalType":"timestamp-millis"}"#;
const MICROS: &str = r#"{"type":"long","logicalType":"timestamp-micros"}"#;
const DATE: &str = r#"{"type":"int","logicalType":"date"}"#;
const MONEY: &str = r#"{"type":"bytes","logicalType":"decimal","precision":7,"scale":2}"#;
const CARD: &str = r#"{"type":"enum","name":"Card","symbols":["debit","credit"]}"#;

#[test]
fn values_of_the_right_type_are_read_exactly() {
    let instant = 1_767_225_600_123_456;
    for (kind, value, expected) in [
        (
            r#""string""#,
            r#""a\"\u00e9\ud83d\ude00\n""#,
            Cell::Text("a\"é😀\n".into()),
        ),
        (r#""string""#, r#""""#, Cell::Text(String::new())),
        (r#""int""#, "-2147483648", Cell::Int(i32::MIN)),
        (r#""long""#, "9223372036854775807", Cell::Long(i64::MAX)),
        (r#""double""#, "7", Cell::Double(7.0)),
        (r#""double""#, "1e3", Cell::Double(1000.0)),
        // serde_json, as it is built by default, is one unit off here.
        (
            r#""double""#,
            "51.24817837550540468",
            Cell::Double(51.248_178_375_505_404),
        ),
        (r#""float""#, "0.1", Cell::Float(0.1)),
        // Rounded to a double first, this would become the float below.
        (
            r#""float""#,
            "1.00000005960464483090178",
            Cell::Float(1.000_000_1),
        ),
        (r#""boolean""#, "false", Cell::Boolean(false)),
        (MILLIS, "1767225600123", Cell::Micros(instant - 456)),
        (MICROS, "1767225600123456", Cell::Micros(instant)),
        (
            MILLIS,
            r#""2026-01-01T00:00:00.123456789Z""#,
            Cell::Micros(instant),
        ),
        (
            MICROS,
            r#""2026-01-01T02:00:00.123456+02:00""#,
            Cell::Micros(instant),
        ),
        (DATE, "-1", Cell::Days(-1)),
        (DATE, r#""1970-02-01""#, Cell::Days(31)),
        (MONEY, "12.30", Cell::Unscaled(1230)),
        (MONEY, r#""-12.3""#, Cell::Unscaled(-1230)),
        (MONEY, "1e2", Cell::Unscaled(10000)),
        (CARD, r#""credit""#, Cell::Text("credit".into())),
        (CARD, r#""cred\u0069t""#, Cell::Text("credit".into())),
    ] {
        assert_eq!(read(kind, value), Ok(Some(expected)), "{kind} {value}");
    }
}

#[test]
fn one_type_is_never_taken_for_another() {
    let others = ["true", r#""1""#, "1", "1.0", "[1]", r#"{"x":1}"#];
    for (kind, accepted) in [
        (r#""string""#, r#""1""#),
        (r#""int""#, "1"),
        (r#""long""#, "1"),
        (r#""boolean""#, "true"),
        (MILLIS, "1"),
        (DATE, "1"),
    ] {
        for value in others.into_iter().filter(|value| *value != accepted) {
            assert_eq!(read(kind, value), Err(Reason::WrongType), "{kind} {value}");
        }
    }
    for (kind, value) in [
        (r#""long""#, "1e3"),
        (r#""double""#, r#""1""#),
        (r#""double""#, "true"),
        (MONEY, r#""1,50""#),
        (MONEY, "false"),
        (CARD, "0"),
        (MICROS, r#""2026-01-01T00:00:00""#),
        (MICROS, r#""yesterday""#),
        (DATE, r#""2026-1-1""#),
        (DATE, r#""2026-02-30""#),
        (DATE, r#"" 2026-1-1""#),
    ] {
        assert_eq!(read(kind, value), Err(Reason::WrongType), "{kind} {value}");
    }
}

#[test]
fn numbers_outside_their_type_are_out_of_range() {
    for (kind, value) in [
        (r#""int""#, "2147483648"),
        (r#""long""#, "-9223372036854775809"),
        (r#""float""#, "1e39"),
        (r#""double""#, "-1e999"),
        (MILLIS, "9223372036854775807"),
        (DATE, "2147483648"),
        (MONEY, "0.001"),
        (MONEY, "100000"),
    ] {
        assert_eq!(read(kind, value), Err(Reason::OutOfRange), "{kind} {value}");
    }
    assert_eq!(read(CARD, r#""prepaid""#), Err(Reason::UnknownSymbol));
}

#[test]
fn broken_text_is_malformed() {
    let decoder = one_field(r#"["null","string"]"#);
    for value in [
        " ",
        "garbage",
        "{",
        r#"{"x":"a"#,
        r#"{"x":"a""#,
        r#"{"x":"a"}}"#,
        r#"{"x":"a"} {"x":"b"}"#,
        r#"{"x":"a",}"#,
        r#"{'x':'a'}"#,
        r#"{"x":NaN}"#,
        r#"{"x":-Infinity}"#,
        r#"{"y":01}"#,
        "{\"x\":\"a\nb\"}",
        r#"{"x":"\ud800"}"#,
        r#"{"x":"a","x":"a"}"#,
        r#"{"x":null,"x":null}"#,
        "\u{feff}{}",
    ] {
        assert_eq!(
            decode_one(&decoder, value),
            Err(Reason::Malformed),
            "{value}"
        );
    }
    assert_eq!(
        decode_one(&decoder, b"{\"x\":\"\xff\"}"),
        Err(Reason::NotUtf8)
    );
    assert_eq!(
        decode_one(&decoder, b"{\"y\":\"\xc3\"}"),
        Err(Reason::NotUtf8)
    );
    assert_eq!(
        decode_one(&decoder, r#"[{"x":"a"}"#),
        Err(Reason::Malformed)
    );
    for value in ["null", "1", r#""x""#, r#"[{"x":"a"}]"#] {
        assert_eq!(
            decode_one(&decoder, value),
            Err(Reason::WrongType),
            "{value}"
        );
    }
}

#[test]
fn missing_fields_take_default_or_null_or_cost_the_record() {
    let schema = schema_of(
        r#"{"name":"id","type":"string"}, {"name":"note","type":["null","string"]},
           {"name":"mcc","type":"int","default":5411},
           {"name":"risk","type":["int","null"],"default":3}"#,
    );
    let decoder = decoder(&schema, Format::Json);
    let int = |number| Some(Cell::Int(number));
    for (value, expected) in [
        (
            r#"{"id":"a"}"#,
            Ok(vec![text("a"), None, int(5411), int(3)]),
        ),
        (
            r#"{"risk":null,"id":"a"}"#,
            Ok(vec![text("a"), None, int(5411), None]),
        ),
        (
            r#"{"mcc":1,"note":"n","id":"a"}"#,
            Ok(vec![text("a"), text("n"), int(1), int(3)]),
        ),
        ("{}", Err(Reason::MissingField)),
        (r#"{"id":null}"#, Err(Reason::MissingField)),
        // A default stands for an absent field, not for a null where none may be.
        (r#"{"id":"a","mcc":null}"#, Err(Reason::MissingField)),
    ] {
        assert_eq!(decode_one(&decoder, value), expected, "{value}");
    }
}

#[test]
fn fields_come_in_any_order_and_under_their_aliases() {
    let schema = schema_of(
        r#"{"name":"a","type":"int"}, {"name":"b","type":"int","aliases":["bee","be"]},
           {"name":"c","type":"int"}"#,
    );
    let decoder = decoder(&schema, Format::Json);
    let expected = Ok([1, 2, 3].map(|number| Some(Cell::Int(number))).to_vec());
    for value in [
        r#"{"a":1,"b":2,"c":3}"#,
        r#"{"c":3,"be":2,"a":1}"#,
        " { \"\\u0062ee\" : 2 , \"a\" : 1 ,\n\"c\" : 3 } ",
    ] {
        assert_eq!(decode_one(&decoder, value), expected, "{value}");
    }
    assert_eq!(
        decode_one(&decoder, r#"{"a":1,"b":2,"c":3,"be":2}"#),
        Err(Reason::Malformed)
    );
    assert_eq!(
        decode_one(&decoder, r#"{"A":1,"b":2,"c":3}"#),
        Err(Reason::MissingField)
    );
}

#[test]
fn unknown_fields_are_counted_or_refused() {
    let schema = schema_of(r#"{"name":"x","type":"int"}"#);
    let values = [
        r#"{"x":1,"y":{"z":[1,"}"]},"w":null}"#,
        r#"{"x":2}"#,
        r#"{"y":1}"#,
        r#"{"y":1,"y":2,"x":3}"#,
    ];
    let decoded = decode_all(&decoder(&schema, Format::Json), &values);
    assert_eq!(decoded.unknown_fields, 4, "those of accepted records");
    assert_eq!(decoded.has_unknown, [true, false, false, true]);

    let strict = Settings {
        unknown_fields: UnknownFields::Reject,
        ..settings(Format::Json)
    };
    let decoded = decode_all(&Decoder::new(&schema, strict).unwrap(), &values);
    let reasons: Vec<_> = decoded
        .rejected
        .iter()
        .map(|r| r.map(|r| r.reason))
        .collect();
    let unknown = Some(Reason::UnknownField);
    assert_eq!(reasons, [unknown, None, unknown, unknown]);
    assert_eq!(decoded.unknown_fields, 0);
}

#[test]
fn deep_nesting_is_refused_without_recursion() {
    let schema = schema_of(r#"{"name":"x","type":["null","int"]}"#);
    let wide = Settings {
        max_bytes: 8 << 20,
        ..settings(Format::Json)
    };
    let decoder = Decoder::new(&schema, wide).unwrap();
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    for depth in [10_000, 1_000_000] {
        for value in [
            nested(depth),
            objects(depth),
            format!(r#"{{"x":{}}}"#, nested(depth)),
            format!(r#"{{"y":{}}}"#, objects(depth)),
            format!(r#"{{"x":1,"y":[0,{},0]}}"#, nested(depth)),
        ] {
            assert_eq!(decode_one(&decoder, value), Err(Reason::TooDeep), "{depth}");
        }
        let never_closed = format!(r#"{{"y":{}"#, "[".repeat(depth));
        assert_eq!(decode_one(&decoder, never_closed), Err(Reason::TooDeep));
    }
    let at_limit = format!(r#"{{"y":{}}}"#, nested(MAX_DEPTH));
    assert_eq!(decode_one(&decoder, at_limit), Ok(vec![None]));
    let beyond = format!(r#"{{"y":{}}}"#, nested(MAX_DEPTH + 1));
    assert_eq!(decode_one(&decoder, beyond), Err(Reason::TooDeep));
    let wide = format!(
        r#"{{"y":[{}"[[\"{}"]}}"#,
        "[],".repeat(1000),
        "[".repeat(1000)
    );
    assert_eq!(decode_one(&decoder, wide), Ok(vec![None]));
}

#[test]
fn refused_record_leaves_its_neighbours_alone() {
    let schema = schema_of(
        r#"{"name":"s","type":"string"}, {"name":"b","type":"boolean"},
           {"name":"n","type":"long"}"#,
    );
    let good = |id: usize| format!(r#"{{"s":"good-{id}","b":true,"n":{id}}}"#);
    let values = [
        good(0),
        r#"{"s":"half a record","b":false,"n":"late"}"#.to_owned(),
        good(1),
        r#"{"s":"cut of"#.to_owned(),
        r#"{"s":"trailing","b":false,"n":1}x"#.to_owned(),
        good(2),
        String::new(),
    ];
    let decoded = decode_all(&decoder(&schema, Format::Json), &values);
    let reasons: Vec<_> = decoded
        .rejected
        .iter()
        .map(|r| r.map(|r| r.reason))
        .collect();
    let wrong = Some(Reason::WrongType);
    let malformed = Some(Reason::Malformed);
    let empty = Some(Reason::EmptyValue);
    assert_eq!(
        reasons,
        [None, wrong, None, malformed, malformed, None, empty]
    );
    for (at, id) in [(0, 0), (2, 1), (5, 2)] {
        let expected = [
            text(&format!("good-{id}")),
            Some(Cell::Boolean(true)),
            Some(Cell::Long(id)),
        ];
        assert_eq!(row(&decoded, at), expected);
    }
    for at in [1, 3, 4, 6] {
        assert_eq!(row(&decoded, at), [None, None, None]);
    }
}
