//! Cost of features: nanoseconds per row of typical expressions, each alone, and of all together.
//!
//! `cargo bench --bench features`. Prints the best of several rounds, for a batch of 1,024 rows and,
//! since what a batch costs beside its rows decides at low rates, for a batch of one.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use probity::features::{Definition, FeatureSet, FeatureType};

const EXPRESSIONS: [&str; 8] = [
    "amount_minor",
    "LN(1 + amount_minor / 100.0)",
    "CASE WHEN card_country <> merchant_country THEN 1 ELSE 0 END",
    "EXTRACT(HOUR FROM event_time)",
    "CASE mcc WHEN 5411 THEN 1 WHEN 6011 THEN 2 WHEN 7995 THEN 3 ELSE 0 END",
    "amount_minor / NULLIF(card_amount_avg_30d, 0)",
    "COALESCE(card_count_1h, 0) > 3 AND NOT card_present",
    "mcc IN (4829, 6010, 6011, 6051, 6211, 7995)",
];
const ROUNDS: usize = 20;
const ROWS_PER_ROUND: usize = 1 << 19;

fn main() {
    let events = events(1_024);
    println!("{:>8} {:>8}  expression", "1,024", "1 row");
    for sql in EXPRESSIONS {
        report(&[sql], &events, sql);
    }
    report(&EXPRESSIONS, &events, "all of them");
}

fn report(expressions: &[&str], events: &RecordBatch, title: &str) {
    let definitions: Vec<(Definition, FeatureType)> = expressions
        .iter()
        .map(|sql| {
            let (name, sql) = ((*sql).to_owned(), (*sql).to_owned());
            (
                Definition {
                    name,
                    sql,
                    impute: None,
                    categories: None,
                },
                FeatureType::Float32,
            )
        })
        .collect();
    let set =
        FeatureSet::compile(&definitions, events.schema_ref()).expect("the expressions are right");
    let many = nanoseconds_per_row(&set, events);
    let single = nanoseconds_per_row(&set, &events.slice(7, 1));
    println!("{many:>8.1} {single:>8.0}  {title}");
}

fn nanoseconds_per_row(set: &FeatureSet, batch: &RecordBatch) -> f64 {
    let turns = ROWS_PER_ROUND / batch.num_rows().max(16);
    let round = |_| {
        let start = Instant::now();
        for _ in 0..turns {
            black_box(set.evaluate(black_box(batch)));
        }
        start.elapsed().as_secs_f64() * 1e9 / (turns * batch.num_rows()) as f64
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}

fn events(rows: i64) -> RecordBatch {
    let at = |row: i64, of: &[&'static str]| of[(row * 7919 % of.len() as i64) as usize];
    let mccs = [5411, 6011, 7995, 5812, 5999, 4111, 5732];
    let mcc = (0..rows).map(|row| mccs[(row * 31 % 7) as usize]);
    let country = |of: &'static [&'static str]| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(
            (0..rows).map(|row| at(row, of)),
        ))
    };
    let average = (0..rows).map(|row| (row % 5 > 0).then_some((row * 13 % 9_000) as f64));
    let time = (0..rows).map(|row| 1_700_000_000_000_000 + row * 7_919_000_003);
    let time = TimestampMicrosecondArray::from_iter_values(time).with_timezone("UTC");
    let amount = (0..rows).map(|row| row * 7_919 % 100_000);
    let columns: [(&str, ArrayRef); 8] = [
        (
            "amount_minor",
            Arc::new(Int64Array::from_iter_values(amount)),
        ),
        ("card_country", country(&["DE", "FR", "DE", "IT", "DE"])),
        ("merchant_country", country(&["DE", "DE", "FR"])),
        ("event_time", Arc::new(time)),
        ("mcc", Arc::new(Int32Array::from_iter_values(mcc))),
        (
            "card_amount_avg_30d",
            Arc::new(average.collect::<Float64Array>()),
        ),
        (
            "card_count_1h",
            Arc::new(
                (0..rows)
                    .map(|row| (row % 4 > 0).then_some(row % 9))
                    .collect::<Int64Array>(),
            ),
        ),
        (
            "card_present",
            Arc::new(
                (0..rows)
                    .map(|row| Some(row % 3 > 0))
                    .collect::<BooleanArray>(),
            ),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true)))
        .expect("the columns have one length")
}
