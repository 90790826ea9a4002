//! Windows by a clock that is fed, and the numbers against ones that were computed elsewhere.

use std::collections::BTreeMap;

use arrow::array::{BooleanArray, Float32Array, Int64Array, RecordBatch, StringArray};
use proptest::prelude::*;

use super::*;
use crate::features::{Categories, Definition, FeatureSet, FeatureType};

const HOUR: i64 = 3_600_000_000;

fn distribution(edges: &[f64], counts: &[u64], missing: u64) -> Distribution {
    Distribution {
        edges: edges.to_vec(),
        counts: counts.to_vec(),
        missing,
    }
}

fn item(of: &str, feature: Option<usize>, reference: Distribution) -> Item {
    Item {
        of: of.to_owned(),
        feature,
        reference,
        range: None,
        unknown: None,
    }
}

/// The score, a number with a range, a text with codes, and a flag.
fn subject(package: &str) -> Subject {
    let amount = item("amount", Some(0), distribution(&[1.0, 10.0], &[5, 5, 0], 0));
    let channel = item("channel", Some(1), distribution(&[1.0], &[5, 5], 0));
    Subject {
        package: package.to_owned(),
        title: "test 1".to_owned(),
        items: vec![
            item(SCORE, None, distribution(&[0.5], &[9, 1], 0)),
            Item {
                range: Some([0.0, 100.0]),
                ..amount
            },
            Item {
                unknown: Some(-1.0),
                ..channel
            },
            item("online", Some(2), distribution(&[1.0], &[5, 5], 0)),
        ],
    }
}

/// The features of rows (amount, channel, online), as a package with these definitions makes them.
fn evaluated(rows: &[(Option<f32>, Option<&str>, Option<bool>)]) -> Evaluated {
    let amounts: Float32Array = rows.iter().map(|row| row.0).collect();
    let channels: StringArray = rows.iter().map(|row| row.1).collect();
    let flags: BooleanArray = rows.iter().map(|row| row.2).collect();
    let events = RecordBatch::try_from_iter_with_nullable([
        ("amount", Arc::new(amounts) as ArrayRef, true),
        ("channel", Arc::new(channels), true),
        ("online", Arc::new(flags), true),
    ])
    .unwrap();
    let definition = |name: &str, impute, categories| Definition {
        name: name.to_owned(),
        sql: name.to_owned(),
        impute,
        categories,
    };
    let codes = BTreeMap::from([("pos".to_owned(), 0.0), ("web".to_owned(), 1.0)]);
    let codes = Some(Categories::new(codes, -1.0));
    let definitions = [
        (definition("amount", None, None), FeatureType::Float32),
        (definition("channel", Some(1.0), codes), FeatureType::Int64),
        (definition("online", None, None), FeatureType::Boolean),
    ];
    let set = FeatureSet::compile(&definitions, events.schema_ref()).unwrap();
    set.complete(&events)
}

fn drift(rows_min: u64) -> Drift {
    let settings = Settings {
        window: Duration::from_secs(3600),
        rows_min,
    };
    Drift::new(settings, Some(subject("a")), 0)
}

/// Counts so many rows that look alike, decided by a package.
fn count(drift: &Drift, package: &str, rows: usize) {
    let Some(subject) = drift.subject_of(package) else {
        return;
    };
    let features = evaluated(&vec![(Some(5.0), Some("web"), Some(true)); rows]);
    let seen = Seen {
        score: &vec![0.1; rows],
        features: &features,
        live: None,
    };
    drift.count(&subject, &seen);
}

fn rows(report: Option<Report>) -> Option<u64> {
    report.map(|report| report.rows)
}

/// numpy 2: `p, q = (np.maximum(np.array(c) / 100, 1e-4) for c in (seen, reference)); ((p - q) * np.log(p / q)).sum()`
#[test]
fn the_index_is_the_one_that_numpy_computes() {
    let index = psi(&[50, 30, 20, 0, 0], &[20, 30, 40, 10, 0]);
    assert!((index - 1.103_601_408_044_551).abs() < 1e-12, "{index}");
}

#[test]
fn empty_bins_are_one_row_in_ten_thousand() {
    let by_hand = (0.5 - SHARE_MIN) * (0.5 / SHARE_MIN).ln();
    assert!((psi(&[5, 5, 0], &[5, 0, 5]) - 2.0 * by_hand).abs() < 1e-12);
    assert_eq!(psi(&[5, 0], &[7, 0]).to_bits(), 0.0f64.to_bits());
    assert!(psi(&[5, 5], &[0, 0]).is_finite());
}

#[test]
fn values_are_counted_in_bins_that_begin_at_their_edge() {
    let features = evaluated(&[
        (Some(1.0), Some("pos"), Some(true)),
        (Some(0.5), Some("web"), Some(false)),
        (Some(10.0), Some("POS"), None),
        (Some(-3.0), None, Some(true)),
        (Some(101.0), Some("pos"), Some(true)),
        (None, Some("pos"), Some(true)),
    ]);
    let seen = Seen {
        score: &[0.5, 0.4, 0.6, 0.1, 0.1, 1.0],
        features: &features,
        live: None,
    };
    let tallies: Vec<Tally> = subject("a")
        .items
        .iter()
        .map(|item| {
            let mut tally = Tally::new(item);
            tally.count(item, &seen);
            tally
        })
        .collect();
    let tally = |bins: &[u64], missing, out_of_range, unknown| Tally {
        bins: bins.to_vec(),
        missing,
        out_of_range,
        unknown,
    };
    assert_eq!(
        tallies,
        [
            tally(&[3, 3], 0, 0, 0),
            tally(&[2, 1, 2], 1, 2, 0),
            // What was imputed is missing, and no category.
            tally(&[4, 1], 1, 0, 1),
            tally(&[1, 4], 1, 0, 0),
        ]
    );
    let measure = Measure::of(&subject("a").items[1], &tallies[1]);
    assert_eq!(measure.missing, 1.0 / 6.0);
    assert_eq!(measure.out_of_range, Some(2.0 / 6.0));
    assert_eq!(measure.unknown_category, None);
    assert_eq!(measure.psi, psi(&[5, 5, 0, 0], &[2, 1, 2, 1]));
    let channel = Measure::of(&subject("a").items[2], &tallies[2]);
    assert_eq!(
        (channel.out_of_range, channel.unknown_category),
        (None, Some(1.0 / 6.0))
    );
}

#[test]
fn an_integer_is_counted_as_the_number_that_it_is() {
    let values = Int64Array::from(vec![i64::MIN, 0, 3, i64::MAX]);
    let events = RecordBatch::try_from_iter([("n", Arc::new(values) as ArrayRef)]).unwrap();
    let definition = Definition {
        name: "n".to_owned(),
        sql: "n".to_owned(),
        impute: Some(0.0),
        categories: None,
    };
    let set =
        FeatureSet::compile(&[(definition, FeatureType::Int64)], events.schema_ref()).unwrap();
    let features = set.complete(&events);
    let seen = Seen {
        score: &[0.0; 4],
        features: &features,
        live: None,
    };
    let item = item("n", Some(0), distribution(&[0.0, 3.0], &[1, 1, 1], 0));
    let mut tally = Tally::new(&item);
    tally.count(&item, &seen);
    assert_eq!(tally.bins, [1, 1, 2]);
}

#[test]
fn a_row_that_was_refused_counts_nowhere() {
    let features = evaluated(&[
        (Some(5.0), None, None),
        (None, None, None),
        (Some(50.0), None, None),
    ]);
    let seen = Seen {
        score: &[0.1, f32::NAN, 0.9],
        features: &features,
        live: Some(vec![0, 2]),
    };
    let drift = drift(1);
    drift.count(&drift.subject_of("a").unwrap(), &seen);
    let report = drift.turn(HOUR).unwrap();
    assert_eq!(report.rows, 2);
    assert_eq!(report.measures[1].missing, 0.0);
    assert_eq!(report.measures[1].psi, psi(&[5, 5, 0, 0], &[0, 1, 1, 0]));
}

#[test]
fn a_window_ends_when_it_is_old_and_full_enough() {
    let drift = drift(10);
    count(&drift, "a", 10);
    assert_eq!(rows(drift.turn(HOUR - 1)), None);
    let report = drift.turn(HOUR).unwrap();
    assert_eq!((report.begun, report.ended, report.rows), (0, HOUR, 10));
    let names: Vec<&str> = report.measures.iter().map(|it| it.of.as_str()).collect();
    assert_eq!(names, ["score", "amount", "channel", "online"]);

    // The next one begins where it ended, and empty; while it has too few rows it goes on.
    count(&drift, "a", 4);
    assert_eq!(rows(drift.turn(2 * HOUR)), None);
    count(&drift, "a", 6);
    let report = drift.turn(2 * HOUR + 5).unwrap();
    assert_eq!(
        (report.begun, report.ended, report.rows),
        (HOUR, 2 * HOUR + 5, 10)
    );
}

#[test]
fn a_clock_that_is_set_back_ends_no_window() {
    let drift = drift(1);
    count(&drift, "a", 1);
    assert_eq!(rows(drift.turn(-HOUR)), None);
    assert_eq!(rows(drift.turn(HOUR)), Some(1));
}

#[test]
fn another_model_ends_the_window_and_rows_of_the_old_one_count_nowhere() {
    let drift = drift(10);
    count(&drift, "a", 10);
    let old = drift.subject_of("a").unwrap();
    let report = drift.change(Some(subject("b")), 5).unwrap();
    assert_eq!(
        (report.subject.package.as_str(), report.rows, report.ended),
        ("a", 10, 5)
    );

    // A lane that decides with the old one still, also if it looked before the change.
    assert!(drift.subject_of("a").is_none());
    count(&drift, "a", 100);
    let features = evaluated(&[(Some(5.0), Some("web"), Some(true)); 100]);
    let late = Seen {
        score: &[0.1; 100],
        features: &features,
        live: None,
    };
    drift.count(&old, &late);
    count(&drift, "b", 12);
    let report = drift.turn(5 + HOUR).unwrap();
    assert_eq!(
        (report.subject.package.as_str(), report.rows, report.begun),
        ("b", 12, 5)
    );
}

#[test]
fn the_last_window_is_told_if_it_has_enough_rows() {
    let few = drift(10);
    count(&few, "a", 9);
    assert_eq!(rows(few.change(None, 7)), None);
    let enough = drift(10);
    count(&enough, "a", 10);
    assert_eq!(rows(enough.change(None, 7)), Some(10));
    // After the end nothing is counted, and nothing told.
    count(&enough, "a", 10);
    assert_eq!(rows(enough.change(None, 8)), None);
    assert_eq!(rows(enough.turn(HOUR)), None);
}

#[test]
fn without_a_reference_nothing_is_measured() {
    let settings = Settings {
        window: Duration::from_secs(3600),
        rows_min: 1,
    };
    let drift = Drift::new(settings, None, 0);
    assert!(drift.subject_of("a").is_none());
    assert_eq!(rows(drift.turn(9 * HOUR)), None);
    assert_eq!(rows(drift.change(Some(subject("b")), 0)), None);
    assert!(drift.subject_of("b").is_some());
}

proptest! {
    #[test]
    fn the_index_is_the_same_both_ways_never_negative_and_nothing_for_equal_shares(
        bins in prop::collection::vec((0u64..1_000_000, 0u64..1_000), 1..70),
        times in 1u64..1_000,
    ) {
        let (reference, seen): (Vec<u64>, Vec<u64>) = bins.into_iter().unzip();
        let index = psi(&reference, &seen);
        prop_assert!(index >= 0.0 && index.is_finite());
        prop_assert!((index - psi(&seen, &reference)).abs() <= 1e-12 * (1.0 + index));
        let more: Vec<u64> = seen.iter().map(|count| count * times).collect();
        prop_assert_eq!(psi(&seen, &more), 0.0);
    }

    /// As lanes see them: in any order, and in rounds of any size.
    #[test]
    fn neither_the_order_of_rows_nor_their_rounds_change_a_window(
        values in prop::collection::vec((prop::option::of(-20.0f32..120.0), 0usize..4, 0.0f32..1.0), 1..60),
        cut in 0usize..60,
        turn in 0usize..60,
    ) {
        const TEXTS: [Option<&str>; 4] = [Some("pos"), Some("web"), Some("?"), None];
        let count = |drift: &Drift, values: &[(Option<f32>, usize, f32)]| {
            let rows: Vec<_> = values.iter().map(|(amount, text, _)| (*amount, TEXTS[*text], None)).collect();
            let scores: Vec<f32> = values.iter().map(|value| value.2).collect();
            let features = evaluated(&rows);
            let seen = Seen { score: &scores, features: &features, live: None };
            drift.count(&drift.subject_of("a").unwrap(), &seen);
        };
        let one = drift(1);
        count(&one, &values);
        let two = drift(1);
        let mut turned = values.clone();
        turned.rotate_left(turn % values.len());
        let (first, second) = turned.split_at(cut.min(values.len()));
        count(&two, first);
        count(&two, second);
        let found = one.turn(HOUR);
        prop_assert_eq!(rows(found.clone()), Some(values.len() as u64));
        prop_assert_eq!(found, two.turn(HOUR));
    }
}
