use super::*;

fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"Payment","namespace":"bank","fields":[{fields}]}}"#)
}

fn parse(fields: &str) -> Result<InputSchema, SchemaError> {
    InputSchema::parse(&record(fields))
}

#[test]
fn every_type_becomes_a_nullable_column_in_the_order_of_the_file() {
    let schema = parse(
        r#"{"name":"s","type":"string"}, {"name":"i","type":"int"}, {"name":"l","type":"long"},
           {"name":"f","type":"float"}, {"name":"d","type":["null","double"]},
           {"name":"b","type":["boolean","null"]},
           {"name":"ms","type":{"type":"long","logicalType":"timestamp-millis"}},
           {"name":"us","type":["null",{"type":"long","logicalType":"timestamp-micros"}]},
           {"name":"day","type":{"type":"int","logicalType":"date"}},
           {"name":"money","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
           {"name":"e","type":{"type":"enum","name":"E","symbols":["x","y"]}},
           {"name":"again","type":["null","E"]}, {"name":"full","type":"bank.E"},
           {"name":"fx","type":{"type":"fixed","name":"F","size":8,"logicalType":"decimal",
                                "precision":12}}"#,
    )
    .unwrap();
    let micros = DataType::Timestamp(datatypes::TimeUnit::Microsecond, Some("UTC".into()));
    let expected = [
        ("s", DataType::Utf8),
        ("i", DataType::Int32),
        ("l", DataType::Int64),
        ("f", DataType::Float32),
        ("d", DataType::Float64),
        ("b", DataType::Boolean),
        ("ms", micros.clone()),
        ("us", micros),
        ("day", DataType::Date32),
        ("money", DataType::Decimal128(9, 2)),
        ("e", DataType::Utf8),
        ("again", DataType::Utf8),
        ("full", DataType::Utf8),
        ("fx", DataType::Decimal128(12, 0)),
    ];
    assert_eq!(schema.fields().len(), expected.len());
    for (column, (name, kind)) in schema.arrow().fields().iter().zip(expected) {
        assert_eq!((column.name().as_str(), column.data_type()), (name, &kind));
        assert!(column.is_nullable());
    }
    let nullable: Vec<_> = schema
        .fields()
        .iter()
        .filter(|f| f.nullable)
        .map(|f| f.name.as_str())
        .collect();
    assert_eq!(nullable, ["d", "b", "us", "again"]);
    assert_eq!(schema.index_of("money"), Some(9));
    assert_eq!(schema.index_of("Money"), None);
}

#[test]
fn annotations_of_a_field_are_kept() {
    let text = record(
        r#"{"name":"pan","type":"string","personal":true,"doc":"a token","aliases":["card"]},
           {"name":"mcc","type":"int","default":5411}"#,
    );
    let schema = InputSchema::parse(&text).unwrap();
    let [pan, mcc] = schema.fields() else {
        panic!("two fields")
    };
    assert!(pan.personal && !mcc.personal);
    assert_eq!(pan.doc.as_deref(), Some("a token"));
    assert_eq!(pan.aliases, ["card"]);
    assert_eq!(pan.when_missing(), None);
    assert_eq!(mcc.when_missing(), Some(&Constant::Int(5411)));
    assert_eq!(schema.digest(), Digest::of(text.as_bytes()));
    assert_eq!(schema.text(), text);
}

#[test]
fn defaults_are_checked_against_the_type() {
    let money = r#"{"type":"bytes","logicalType":"decimal","precision":3,"scale":1}"#;
    let millis = r#"{"type":"long","logicalType":"timestamp-millis"}"#;
    for (kind, default, expected) in [
        (r#"["null","int"]"#, "null", Constant::Null),
        (r#"["int","null"]"#, "7", Constant::Int(7)),
        (r#""string""#, r#""x""#, Constant::Text("x".into())),
        (r#""float""#, "0.5", Constant::Float(0.5)),
        (r#""double""#, "2", Constant::Double(2.0)),
        (r#""boolean""#, "true", Constant::Boolean(true)),
        (millis, "5", Constant::Long(5000)),
        (money, r#""\u00ff""#, Constant::Decimal(-1)),
    ] {
        let schema = parse(&format!(
            r#"{{"name":"x","type":{kind},"default":{default}}}"#
        ));
        assert_eq!(
            schema.unwrap().fields()[0].when_missing(),
            Some(&expected),
            "{kind}"
        );
    }
    for (kind, default) in [
        (r#""int""#, "null"),
        (r#""int""#, "3000000000"),
        (r#""int""#, "1.5"),
        (r#""string""#, "1"),
        (r#""float""#, "1e300"),
        (millis, "9223372036854775807"),
        (money, r#""\u0100""#),
        (money, r#""\u0010\u0000""#),
        (r#"{"type":"enum","name":"E","symbols":["x"]}"#, r#""y""#),
    ] {
        let error = parse(&format!(
            r#"{{"name":"x","type":{kind},"default":{default}}}"#
        ));
        assert!(
            error.unwrap_err().problem.contains("default"),
            "{kind} {default}"
        );
    }
}

#[test]
fn what_no_column_can_hold_is_refused_with_the_field() {
    for (kind, says) in [
        (r#"{"type":"array","items":"int"}"#, "`array`"),
        (r#"{"type":"map","values":"int"}"#, "`map`"),
        (r#"{"type":"record","name":"R","fields":[]}"#, "`record`"),
        (r#""bytes""#, "`bytes`"),
        (r#""null""#, "`null`"),
        (r#""Elsewhere""#, "`Elsewhere`"),
        (r#"["int","string"]"#, "union"),
        (r#"["null","int","string"]"#, "union"),
        (r#"["null"]"#, "union"),
        (r#"["null","null"]"#, "union"),
        (
            r#"{"type":"long","logicalType":"time-micros"}"#,
            "time-micros",
        ),
        (
            r#"{"type":"bytes","logicalType":"decimal","precision":39}"#,
            "precision",
        ),
        (
            r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":5}"#,
            "scale",
        ),
        (
            r#"{"type":"fixed","name":"F","logicalType":"decimal","precision":4}"#,
            "size",
        ),
        (r#"{"type":"enum","name":"E","symbols":[]}"#, "symbols"),
        (r#"{"type":"enum","name":"E","symbols":["x","x"]}"#, "twice"),
        (r#"{"type":"enum","symbols":["x"]}"#, "name"),
        (
            r#"{"type":"enum","name":"E","symbols":["x"],"default":"y"}"#,
            "default",
        ),
        (r#"{"type":"string","personal":true}"#, "personal"),
        ("7", "type"),
    ] {
        let error = parse(&format!(r#"{{"name":"odd","type":{kind}}}"#)).unwrap_err();
        assert_eq!(error.field.as_deref(), Some("odd"), "{kind}");
        assert!(error.problem.contains(says), "{kind}: {error}");
        assert!(!error.fix.is_empty());
    }
}

#[test]
fn names_are_plain_and_differ_in_more_than_case() {
    for fields in [
        r#"{"name":"card id","type":"int"}"#,
        r#"{"name":"1st","type":"int"}"#,
        r#"{"name":"a","type":"int"}, {"name":"a","type":"int"}"#,
        r#"{"name":"a","type":"int"}, {"name":"A","type":"int"}"#,
        r#"{"name":"a","type":"int"}, {"name":"b","type":"int","aliases":["a"]}"#,
        r#"{"name":"a","type":"int","aliases":"b"}"#,
        r#"{"name":"a","type":"int","personal":"yes"}"#,
        r#"{"name":"a"}"#,
        r#"{"type":"int"}"#,
        "",
    ] {
        assert!(parse(fields).is_err(), "{fields}");
    }
    for text in [
        "",
        "[]",
        r#"{"type":"enum"}"#,
        r#"{"type":"record","name":"R"}"#,
    ] {
        assert!(InputSchema::parse(text).is_err(), "{text}");
    }
}

#[test]
fn error_names_file_field_problem_and_fix() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("payment.avsc");
    let missing = InputSchema::load(&path).unwrap_err();
    assert_eq!(missing.file.as_deref(), Some(path.as_path()));

    std::fs::write(
        &path,
        record(r#"{"name":"tags","type":{"type":"array","items":"int"}}"#),
    )
    .unwrap();
    let text = InputSchema::load(&path).unwrap_err().to_string();
    for part in [
        path.to_str().unwrap(),
        "field `tags`",
        "`array` is not supported",
        "flatten",
    ] {
        assert!(text.contains(part), "{text}");
    }
    std::fs::write(&path, record(r#"{"name":"n","type":"int"}"#)).unwrap();
    assert_eq!(
        InputSchema::load(&path).unwrap().file(),
        Some(path.as_path())
    );
}
