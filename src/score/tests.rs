//! Files as they come, through the whole of the command.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray as _, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::config::Environment;
use crate::decode::{Decoder, UnknownFields};
use crate::generate::{Generator, Settings, files};
use crate::infer::testing;

mod containers;
mod tables;

const LIMITS: Limits = Limits {
    rows: 64,
    bytes: 1 << 20,
};

fn config(sets: &[&str]) -> Config {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/probity.toml");
    let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
    Config::load(Some(&file), &sets, &Environment::default()).unwrap()
}

fn reference() -> PathBuf {
    config(&[]).model.package
}

/// Generated payments in a file of this name.
fn payments(folder: &TempDir, name: &str, events: u64, avro: bool) -> PathBuf {
    let out = folder.path().join(name);
    let request = files::Request {
        settings: Settings::for_cards(1000),
        events,
        avro,
        out: Some(out.clone()),
        truth: None,
    };
    files::write(&request).unwrap();
    out
}

fn file(folder: &TempDir, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn parquet(folder: &TempDir, name: &str, batch: &RecordBatch) -> PathBuf {
    let path = folder.path().join(name);
    let out = std::fs::File::create(&path).unwrap();
    let mut writer = ArrowWriter::try_new(out, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    path
}

/// The events of lines of JSON as columns.
fn decoded(lines: &Path) -> RecordBatch {
    let (schema, decoding) = setup::reading(&config(&[])).unwrap();
    let text = std::fs::read(lines).unwrap();
    let text = text.strip_suffix(b"\n").unwrap();
    let values: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let decoder = Decoder::new(&schema, decoding).unwrap();
    decoder.decode(values.into_iter().map(Some)).events
}

/// The same columns backwards, as other programs would write them, without the personal ones.
fn rewritten(events: &RecordBatch) -> RecordBatch {
    let (schema, _) = setup::reading(&config(&[])).unwrap();
    let kept = |index: &usize| !schema.fields()[*index].personal;
    let columns = (0..events.num_columns()).rev().filter(kept).map(|index| {
        let column = events.column(index);
        let other = match column.data_type() {
            DataType::Utf8 if index % 2 == 0 => DataType::LargeUtf8,
            DataType::Utf8 => DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into()),
            DataType::Int32 => DataType::Int64,
            DataType::Timestamp(_, _) => DataType::Timestamp(TimeUnit::Nanosecond, None),
            same => same.clone(),
        };
        let column = match column.data_type() {
            DataType::Timestamp(_, _) => cast(&cast(column, &DataType::Int64).unwrap(), &MICROS),
            _ => Ok(column.clone()),
        };
        let name = events.schema_ref().field(index).name().clone();
        (name, cast(&column.unwrap(), &other).unwrap())
    });
    RecordBatch::try_from_iter(columns).unwrap()
}

const MICROS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

fn score(folder: &TempDir, input: &Path) -> (Summary, Vec<Value>, String) {
    let out = folder.path().join("scored.ndjson");
    let request = Request {
        input: input.to_owned(),
        output: Output::Scores(Some(out.clone())),
    };
    let summary = run(&config(&["batch.max_rows=100"]), &request).unwrap();
    let text = std::fs::read_to_string(out).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    (summary, lines.collect(), text)
}

#[test]
fn the_same_events_get_the_same_bits_from_every_format() {
    if testing::runtime("the_same_events_get_the_same_bits_from_every_format").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let lines = payments(&folder, "payments.ndjson", 350, false);
    let avro = payments(&folder, "payments.avro", 350, true);
    let events = decoded(&lines);
    let same = parquet(&folder, "same.parquet", &events);
    let other = parquet(&folder, "other.parquet", &rewritten(&events));

    let (summary, scored, text) = score(&folder, &lines);
    assert_eq!((summary.events, summary.refused()), (350, 0));
    assert_eq!(scored.len(), 350);
    assert_eq!(scored[349]["line"], 350);
    assert_eq!(scored[349]["event_id"], decoded_id(&events, 349));
    for input in [avro, same, other] {
        assert_eq!(score(&folder, &input).2, text, "{}", input.display());
    }
}

fn decoded_id(events: &RecordBatch, row: usize) -> Value {
    json!(events["transaction_id"].as_string::<i32>().value(row))
}

#[test]
fn a_refused_line_keeps_its_number_and_its_neighbours_their_scores() {
    if testing::runtime("a_refused_line_keeps_its_number_and_its_neighbours_their_scores").is_none()
    {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let lines = std::fs::read_to_string(payments(&folder, "all.ndjson", 3, false)).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    let text = format!("{}\nno json\n\n{}\n{}", lines[0], lines[1], lines[2]);
    let (whole, _, _) = score(&folder, &file(&folder, "whole.ndjson", lines.join("\n")));
    let (summary, scored, _) = score(&folder, &file(&folder, "events.ndjson", text));
    assert_eq!(summary.decisions, whole.decisions);
    let refused = |line: i64, reason| json!({"line": line, "rejected": reason, "stage": "decode"});
    assert_eq!(scored[1], refused(2, "malformed"));
    assert_eq!(scored[2], refused(3, "empty_value"));
    let numbers: Vec<_> = scored.iter().map(|line| line["line"].clone()).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    assert_eq!(
        summary.to_string(),
        "5 events, 3 scored (3 approve), 2 rejected (1 empty_value, 1 malformed)"
    );
}

#[test]
fn the_matrix_is_what_the_features_evaluate_to_and_needs_no_model() {
    let folder = tempfile::tempdir().unwrap();
    let package = folder.path().join("package");
    std::fs::create_dir(&package).unwrap();
    std::fs::copy(reference().join("model.toml"), package.join("model.toml")).unwrap();
    let lines = payments(&folder, "payments.ndjson", 300, false);
    let events = decoded(&lines);
    let mut text = std::fs::read_to_string(&lines).unwrap();
    text.insert_str(0, "no json\n");
    let input = file(&folder, "events.ndjson", text);
    let out = folder.path().join("features.parquet");

    let mut config = config(&["batch.max_rows=100"]);
    config.model.package = package;
    let request = Request {
        input,
        output: Output::Features(out.clone()),
    };
    let summary = run(&config, &request).unwrap();
    assert_eq!(summary.to_string(), "301 events, 1 rejected (1 malformed)");

    let (schema, _) = setup::reading(&config).unwrap();
    let set = setup::features(&config, &schema).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(out).unwrap());
    let mut reader = reader.unwrap().with_batch_size(1000).build().unwrap();
    let matrix = reader.next().unwrap().unwrap();
    let names: Vec<&str> = set.names().collect();
    let found = matrix.schema();
    let found: Vec<&str> = found.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(found[0], "transaction_id");
    assert_eq!(found[1..], names);
    assert_eq!(
        matrix.column(0).as_string::<i32>(),
        events["transaction_id"].as_string::<i32>()
    );
    for (column, wanted) in matrix.columns()[1..].iter().zip(set.evaluate(&events)) {
        assert_eq!(column.data_type(), &DataType::Float32);
        let bits = |column: &ArrayRef| -> Vec<Option<u32>> {
            let rows = column.as_primitive::<Float32Type>().iter();
            rows.map(|row| row.map(f32::to_bits)).collect()
        };
        assert_eq!(bits(column), bits(&wanted));
    }
}

#[test]
fn the_matrix_holds_the_codes_of_categories() {
    let folder = tempfile::tempdir().unwrap();
    let input = payments(&folder, "payments.ndjson", 300, false);
    let manifest = std::fs::read_to_string(reference().join("model.toml")).unwrap();
    let with_channel = format!(
        "{manifest}\n[[feature]]\nname = \"channel\"\nsql = \"channel\"\n\
         categories = {{ pos = 3, ecommerce = 5 }}\nunknown = -1\n"
    );
    let package = folder.path().join("package");
    std::fs::create_dir(&package).unwrap();
    std::fs::write(package.join("model.toml"), with_channel).unwrap();
    let out = folder.path().join("features.parquet");
    let request = Request {
        input: input.clone(),
        output: Output::Features(out.clone()),
    };
    let set = format!("model.package={}", package.display());
    run(&config(&[&set]), &request).unwrap();
    let matrix = std::fs::File::open(&out).unwrap();
    let mut batches = ParquetRecordBatchReaderBuilder::try_new(matrix)
        .unwrap()
        .build()
        .unwrap();
    let matrix = batches.next().unwrap().unwrap();
    let codes = matrix.column_by_name("channel").unwrap();
    let codes: Vec<f32> = codes.as_primitive::<Float32Type>().values().to_vec();
    let events = decoded(&input);
    let channels = events.column_by_name("channel").unwrap();
    let wanted: Vec<f32> = channels
        .as_string::<i32>()
        .iter()
        .map(|channel| match channel.unwrap() {
            "pos" => 3.0,
            "ecommerce" => 5.0,
            _ => -1.0,
        })
        .collect();
    assert_eq!(codes, wanted[..codes.len()]);
    for code in [3.0, 5.0, -1.0] {
        assert!(codes.contains(&code), "{code}");
    }
}

#[test]
fn the_reference_packages_decline_few_of_many_payments() {
    if testing::runtime("the_reference_packages_decline_few_of_many_payments").is_none() {
        return;
    }
    let mut lines = Vec::new();
    let mut frauds = 0;
    // Past the head of the stream, where histories are short, and with more fraud than there is, so
    // that there is some.
    let mut settings = Settings::for_cards(500);
    settings.fraud_rate = 0.05;
    for payment in Generator::new(settings).skip(20_000).take(1000) {
        payment.write_json(&mut lines);
        lines.push(b'\n');
        frauds += u64::from(payment.fraud.is_some());
    }
    assert!((10..=100).contains(&frauds), "{frauds}");
    let folder = tempfile::tempdir().unwrap();
    let input = file(&folder, "payments.ndjson", lines);
    for name in ["card-risk", "card-risk-mlp"] {
        let mut config = config(&[]);
        config.model.package = reference().with_file_name(name);
        let description = Setup::load(&config).unwrap().describe();
        assert!(description.ends_with("deterministic"), "{description}");
        let out = folder.path().join("scored.ndjson");
        let request = Request {
            input: input.clone(),
            output: Output::Scores(Some(out)),
        };
        let summary = run(&config, &request).unwrap();
        let of = |decision| summary.decisions.get(&decision).copied().unwrap_or(0);
        assert_eq!((summary.events, summary.refused()), (1000, 0));
        let declined = of(Decision::Decline);
        let is_sane = (frauds / 5..=frauds).contains(&declined);
        assert!(is_sane, "{name}, with {frauds} frauds: {summary}");
        assert!(
            of(Decision::Approve) >= 1000 - 2 * frauds,
            "{name}: {summary}"
        );
    }
}

#[test]
fn a_file_that_says_what_it_is_not_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = |path: &Path| open_file(path, &schema()).err().unwrap().to_string();
    for (name, says) in [
        ("events.parquet", "does not begin with PAR1"),
        ("events.avro", "does not begin with Obj"),
    ] {
        let error = refusal(&file(&folder, name, "{}"));
        assert!(error.contains(name) && error.contains(says), "{error}");
    }
    let error = refusal(Path::new("/nowhere/events.ndjson"));
    assert!(error.contains("/nowhere/events.ndjson"), "{error}");
}

// What the tests below share.

/// An id, a time and one column more.
fn schema() -> InputSchema {
    schema_with(r#"{"name":"x","type":["null","double"]}"#)
}

fn schema_with(field: &str) -> InputSchema {
    let text = format!(
        r#"{{"type":"record","name":"Event","fields":[{{"name":"id","type":"string"}},{field}]}}"#
    );
    InputSchema::parse(&text).unwrap()
}

fn open_file(path: &Path, schema: &InputSchema) -> Result<Input> {
    let (_, decoding) = setup::reading(&config(&[])).unwrap();
    Input::open(path, schema, &decoding, LIMITS)
}

/// All events of a file, and why each is refused.
fn read(path: &Path, schema: &InputSchema) -> Result<Vec<(Vec<ArrayRef>, Option<Reason>)>> {
    let mut input = open_file(path, schema)?;
    let mut rows = Vec::new();
    while let Some(batch) = input.next()? {
        for row in 0..batch.lineage().rows() {
            let events = batch.payload().events.slice(row, 1);
            let reason = batch.lineage().rejection(row).map(|it| it.reason);
            rows.push((events.columns().to_vec(), reason));
        }
    }
    Ok(rows)
}

fn reasons(path: &Path, schema: &InputSchema) -> Vec<Option<Reason>> {
    let rows = read(path, schema).unwrap();
    rows.into_iter().map(|(_, reason)| reason).collect()
}
