//! Against the real library: bits equal to Python's, whatever the chunk and the neighbours.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, Float32Array, StringArray};
use arrow::datatypes::Float32Type;

use super::testing::{fixture, runtime};
use super::*;
use crate::error::Exit;

mod device;
mod refused;

pub(super) use device::Room;

const FIXTURES: [&str; 6] = [
    "lightgbm",
    "lightgbm-zipmap",
    "xgboost",
    "mlp",
    "pipeline",
    "kinds",
];
const FAILED: Option<Rejection> = Some(Rejection {
    stage: Stage::Infer,
    reason: Reason::InferenceFailed,
});
const NOT_FINITE: Option<Rejection> = Some(Rejection {
    stage: Stage::Infer,
    reason: Reason::ScoreNotFinite,
});

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

fn open(package: &Package, runtime: &Runtime) -> Model {
    Model::open(package, runtime, &[Provider::Cpu]).unwrap()
}

/// The fixture's columns, but with `column` in place of that of the feature.
fn with(package: &Package, columns: &[ArrayRef], name: &str, column: ArrayRef) -> Vec<ArrayRef> {
    let at = package
        .features
        .iter()
        .position(|feature| feature.name == name)
        .unwrap();
    let mut columns = columns.to_vec();
    columns[at] = column;
    columns
}

#[test]
fn scores_equal_pythons_to_the_bit() {
    let Some(runtime) = runtime("infer::scores_equal_pythons_to_the_bit") else {
        return;
    };
    for name in FIXTURES {
        let package = fixture(name);
        let golden = package.golden.clone().unwrap();
        assert!(golden.score.len() > 200);
        let mut model = open(&package, runtime);
        assert_eq!(model.provider(), "cpu");
        let scored = model.run(&golden.columns).unwrap();
        assert!(scored.rejected.iter().all(Option::is_none), "{name}");
        assert_eq!(bits(&scored.score), bits(&golden.score), "{name}");
        assert_eq!(
            scored.margin.as_deref().map(bits),
            golden.margin.as_deref().map(bits),
            "{name}"
        );
    }
}

#[test]
fn neither_padding_nor_neighbours_change_the_bits() {
    let Some(runtime) = runtime("infer::neither_padding_nor_neighbours_change_the_bits") else {
        return;
    };
    for name in FIXTURES {
        let package = fixture(name);
        let golden = package.golden.clone().unwrap();
        let mut model = open(&package, runtime);
        assert_eq!(
            model.probe(&golden.columns).unwrap(),
            Admission::Deterministic,
            "{name}"
        );
        for (first, rows) in [(0, 1), (17, 64), (100, 65), (202, 1), (5, 0)] {
            let slice: Vec<ArrayRef> = golden
                .columns
                .iter()
                .map(|column| column.slice(first, rows))
                .collect();
            let scored = model.run(&slice).unwrap();
            assert_eq!(
                bits(&scored.score),
                bits(&golden.score[first..first + rows]),
                "{name} {first} {rows}"
            );
        }
    }
}

#[test]
fn golden_rows_admit_the_model_and_its_small_chunks() {
    let Some(runtime) = runtime("infer::golden_rows_admit_the_model_and_its_small_chunks") else {
        return;
    };
    for name in ["lightgbm", "xgboost", "mlp"] {
        let package = fixture(name);
        let golden = package.golden.as_ref().unwrap();
        let mut model = open(&package, runtime);
        assert_eq!(model.admission(), Some(Admission::Deterministic), "{name}");
        assert_eq!(model.chunk_sizes(), [1, 4, 16, 64], "{name}");
        let scored = model.run(&golden.columns).unwrap();
        assert_eq!(bits(&scored.score), bits(&golden.score), "{name}");
        // 203 rows are 3 × 64, 2 × 4 and 3 × 1.
        let sizes: Vec<u16> = [[64; 192].as_slice(), &[4; 8], &[1; 3]].concat();
        assert_eq!(scored.chunk_rows, sizes);
    }
    let zipmap = open(&fixture("lightgbm-zipmap"), runtime);
    assert_eq!(zipmap.chunk_sizes(), [64]);
}

#[test]
fn the_reference_packages_answer_to_the_bit_in_chunks_of_every_size() {
    let name = "infer::the_reference_packages_answer_to_the_bit_in_chunks_of_every_size";
    let Some(runtime) = runtime(name) else {
        return;
    };
    for name in ["card-risk", "card-risk-mlp"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/models");
        let package = Package::load(&folder.join(name)).unwrap();
        let golden = package.golden.clone().unwrap();
        assert!(golden.score.len() >= 64, "{name}");
        let mut model = open(&package, runtime);
        assert_eq!(model.admission(), Some(Admission::Deterministic), "{name}");
        assert_eq!(model.chunk_sizes(), [1, 4, 16, 64, 256], "{name}");
        let scored = model.run(&golden.columns).unwrap();
        assert_eq!(bits(&scored.score), bits(&golden.score), "{name}");
    }
}

#[test]
fn a_model_without_golden_rows_keeps_to_its_largest_chunk() {
    let Some(runtime) = runtime("infer::a_model_without_golden_rows_keeps_to_its_largest_chunk")
    else {
        return;
    };
    let mut package = fixture("lightgbm");
    let golden = package.golden.take().unwrap();
    let mut model = open(&package, runtime);
    assert_eq!(
        (model.admission(), model.chunk_sizes()),
        (None, [64].as_slice())
    );
    assert_eq!(model.run(&golden.columns).unwrap().chunk_rows, [64; 203]);
}

#[test]
fn a_model_that_does_not_give_its_known_answers_is_refused() {
    let Some(runtime) = runtime("infer::a_model_that_does_not_give_its_known_answers_is_refused")
    else {
        return;
    };
    let mut package = fixture("xgboost");
    package.golden = fixture("lightgbm").golden;
    let error = Model::open(&package, runtime, &[Provider::Cpu])
        .err()
        .unwrap();
    assert_eq!(error.exit, Exit::Usage);
    assert!(
        error.to_string().contains("golden row 0 has the score"),
        "{error}"
    );

    let mut package = fixture("mlp");
    let margins = package.golden.as_mut().unwrap().margin.as_mut().unwrap();
    margins[7] += 0.001;
    let error = Model::open(&package, runtime, &[Provider::Cpu])
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("golden row 7 has the margin"),
        "{error}"
    );
}

#[test]
fn a_model_that_looks_at_neighbours_is_tolerant_and_gets_no_small_chunks() {
    let Some(runtime) =
        runtime("infer::a_model_that_looks_at_neighbours_is_tolerant_and_gets_no_small_chunks")
    else {
        return;
    };
    let package = fixture("neighbours");
    let golden = package.golden.as_ref().unwrap();
    let mut model = open(&package, runtime);
    assert!(matches!(
        model.admission(),
        Some(Admission::Tolerant { max_ulp: 1..=100 })
    ));
    assert_eq!(model.chunk_sizes(), [64]);
    assert_eq!(
        bits(&model.run(&golden.columns).unwrap().score),
        bits(&golden.score)
    );
}

#[test]
fn a_null_float_is_missing_for_the_model() {
    let Some(runtime) = runtime("infer::a_null_float_is_missing_for_the_model") else {
        return;
    };
    let package = fixture("lightgbm");
    let golden = package.golden.clone().unwrap();
    let mut model = open(&package, runtime);
    let nan: ArrayRef = Arc::new(Float32Array::from(vec![f32::from_bits(0xffc0_0001); 203]));
    let null: ArrayRef = Arc::new(Float32Array::from(vec![None; 203]));
    let nan = model
        .run(&with(&package, &golden.columns, "terminal_risk", nan))
        .unwrap();
    let null = model
        .run(&with(&package, &golden.columns, "terminal_risk", null))
        .unwrap();
    assert_eq!(bits(&nan.score), bits(&null.score));
    assert_ne!(bits(&null.score), bits(&golden.score));
}

#[test]
fn a_score_that_is_not_finite_rejects_its_row_only() {
    let Some(runtime) = runtime("infer::a_score_that_is_not_finite_rejects_its_row_only") else {
        return;
    };
    let package = fixture("mlp");
    let golden = package.golden.clone().unwrap();
    let hours = golden.columns[1]
        .as_primitive::<Float32Type>()
        .iter()
        .enumerate();
    let hours = hours.map(|(row, hour)| if row == 70 { None } else { hour });
    let columns = with(
        &package,
        &golden.columns,
        "hour",
        Arc::new(Float32Array::from_iter(hours)),
    );
    let without_margin = Package {
        margin: None,
        ..package.clone()
    };
    for package in [package, without_margin] {
        let scored = open(&package, runtime).run(&columns).unwrap();
        assert_eq!(scored.rejected[70], NOT_FINITE);
        assert!(scored.score[70].is_nan());
        assert!(scored.margin.is_none_or(|margins| margins[70].is_nan()));
        for row in (0..203).filter(|row| *row != 70) {
            let score = scored.score[row].to_bits();
            assert_eq!(
                (scored.rejected[row], score),
                (None, golden.score[row].to_bits())
            );
        }
    }
}

#[test]
fn a_poison_row_is_rejected_alone_and_the_others_keep_their_bits() {
    let Some(runtime) =
        runtime("infer::a_poison_row_is_rejected_alone_and_the_others_keep_their_bits")
    else {
        return;
    };
    // A channel that the encoder does not know, a text that is no number, and a text that no tensor can hold.
    for (name, feature, poison) in [
        ("pipeline", "channel", "?"),
        ("kinds", "digits", "x"),
        ("pipeline", "country", "D\0E"),
    ] {
        let package = fixture(name);
        let golden = package.golden.clone().unwrap();
        let at = package
            .features
            .iter()
            .position(|f| f.name == feature)
            .unwrap();
        let guilty = [3, 64, 65, 127, 202];
        let texts: StringArray = golden.columns[at].as_string::<i32>().clone();
        let texts = texts.iter().enumerate().map(|(row, text)| {
            if guilty.contains(&row) {
                Some(poison)
            } else {
                text
            }
        });
        let columns = with(
            &package,
            &golden.columns,
            feature,
            Arc::new(StringArray::from_iter(texts)),
        );
        let scored = open(&package, runtime).run(&columns).unwrap();
        for row in 0..203 {
            if guilty.contains(&row) {
                assert_eq!(scored.rejected[row], FAILED, "{name} {row}");
                assert!(scored.score[row].is_nan());
            } else {
                assert_eq!(
                    (scored.rejected[row], scored.score[row].to_bits()),
                    (None, golden.score[row].to_bits()),
                    "{name} {row}"
                );
            }
        }
    }
}

#[test]
fn rows_are_not_blamed_for_a_model_that_never_worked() {
    let Some(runtime) = runtime("infer::rows_are_not_blamed_for_a_model_that_never_worked") else {
        return;
    };
    let folder = refused::changed("pipeline", "1.0.0", "1.0.1");
    let package = Package::load(folder.path()).unwrap();
    let golden = fixture("pipeline").golden.unwrap();
    let unknown: ArrayRef = Arc::new(StringArray::from(vec!["?"; 203]));
    let unknown = with(&package, &golden.columns, "channel", unknown);
    let mut model = open(&package, runtime);
    let error = model.run(&unknown).unwrap_err();
    assert_eq!(error.exit, Exit::Usage);
    assert!(
        error.to_string().contains("has failed on every row so far"),
        "{error}"
    );
    // Once it has accepted a row, it is believed when it fails on others.
    model.run(&golden.columns).unwrap();
    assert!(
        model
            .run(&unknown)
            .unwrap()
            .rejected
            .iter()
            .all(|rejected| *rejected == FAILED)
    );
    assert_eq!(
        bits(&model.run(&golden.columns).unwrap().score),
        bits(&golden.score)
    );
}

#[test]
fn a_model_can_be_opened_in_one_thread_and_used_in_another() {
    fn can_be_sent<T: Send>() {}
    can_be_sent::<Model>();
}
