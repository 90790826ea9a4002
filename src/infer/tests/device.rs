//! A device that is too small, and where nodes run: what can be shown without one.

use super::*;

/// The memory of a device that is made up: after so many more runs it holds so many rows.
pub struct Room {
    rows: usize,
    runs: usize,
}

impl Room {
    fn for_rows(rows: usize) -> Room {
        Room { rows, runs: 0 }
    }

    pub fn holds(&mut self, rows: usize) -> bool {
        if self.runs > 0 {
            self.runs -= 1;
            return true;
        }
        rows <= self.rows
    }
}

fn reference(name: &str) -> Package {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/models");
    Package::load(&folder.join(name)).unwrap()
}

/// The columns again and again.
fn repeated(columns: &[ArrayRef], rows: usize) -> Vec<ArrayRef> {
    let have = columns[0].len() as u32;
    let order = arrow::array::UInt32Array::from_iter_values((0..rows as u32).map(|row| row % have));
    let take = |column| arrow::compute::take(column, &order, None).unwrap();
    columns.iter().map(|column| take(column)).collect()
}

#[test]
fn a_session_on_the_cpu_runs_every_node_there() {
    let Some(runtime) = runtime("infer::a_session_on_the_cpu_runs_every_node_there") else {
        return;
    };
    for (package, trees) in [(reference("card-risk"), 1), (reference("card-risk-mlp"), 0)] {
        let mut model = Model::open_and_look(&package, runtime, &[Provider::Cpu]).unwrap();
        let nodes = model.nodes().unwrap();
        let text = nodes.to_string();
        assert!(text.contains("on cpu: ") && !text.contains(','), "{text}");
        assert_eq!(nodes.trees_on_cpu().len(), trees, "{text}");
        // What was written down is no longer: the scores are those of any other session.
        let golden = package.golden.as_ref().unwrap();
        let scored = model.run(&golden.columns).unwrap();
        assert_eq!(bits(&scored.score), bits(&golden.score));
        assert_eq!(open(&package, runtime).nodes(), None);
    }
}

#[test]
fn nodes_are_seen_though_the_model_refuses_zeros() {
    let Some(runtime) = runtime("infer::nodes_are_seen_though_the_model_refuses_zeros") else {
        return;
    };
    let package = fixture("pipeline");
    let model = Model::open_and_look(&package, runtime, &[Provider::Cpu]).unwrap();
    let again = Model::open_and_look(&package, runtime, &[Provider::Cpu]).unwrap();
    let operators = model.nodes().unwrap().to_string();
    // The first nodes refuse an empty text; what comes behind them has seen golden rows.
    assert!(
        operators.contains("OneHotEncoder") && operators.contains("Concat"),
        "{operators}"
    );
    assert_eq!(again.nodes(), model.nodes());
}

#[test]
fn a_chunk_that_does_not_fit_is_run_again_in_smaller_ones_with_the_same_bits() {
    let name = "infer::a_chunk_that_does_not_fit_is_run_again_in_smaller_ones_with_the_same_bits";
    let Some(runtime) = runtime(name) else {
        return;
    };
    for name in ["card-risk", "card-risk-mlp"] {
        let package = reference(name);
        let columns = repeated(&package.golden.as_ref().unwrap().columns, 600);
        let mut model = open(&package, runtime);
        let whole = model.run(&columns).unwrap();
        assert!(whole.chunk_rows.contains(&256));
        model.room = Some(Room::for_rows(20));
        let scored = model.run(&columns).unwrap();
        assert_eq!(bits(&scored.score), bits(&whole.score), "{name}");
        assert_eq!(scored.rejected, whole.rejected);
        assert_eq!(model.chunk_sizes(), [1, 4, 16]);
        assert!(scored.chunk_rows.iter().all(|rows| *rows <= 16));
        // The memory is there again, and the size is not taken up: who waits for it starts anew.
        model.room = None;
        let later = model.run(&columns).unwrap();
        assert_eq!(later, scored);
    }
}

#[test]
fn a_device_that_holds_no_chunk_stops_with_the_fix_and_rejects_no_row() {
    let name = "infer::a_device_that_holds_no_chunk_stops_with_the_fix_and_rejects_no_row";
    let Some(runtime) = runtime(name) else {
        return;
    };
    let package = fixture("lightgbm-zipmap");
    let golden = package.golden.as_ref().unwrap();
    let mut model = open(&package, runtime);
    assert_eq!(model.chunk_sizes(), [64]);
    model.room = Some(Room::for_rows(63));
    let error = model.run(&golden.columns).unwrap_err();
    assert_eq!(error.exit, Exit::Unreachable);
    let text = error.to_string();
    for word in [
        "64 rows",
        "model.gpu.memory",
        "pipeline.lanes",
        "chunk_rows",
    ] {
        assert!(text.contains(word), "{word} is not in: {text}");
    }
}

#[test]
fn a_size_with_bits_beyond_the_recorded_tolerance_is_not_taken_for_want_of_memory() {
    let name =
        "infer::a_size_with_bits_beyond_the_recorded_tolerance_is_not_taken_for_want_of_memory";
    let Some(runtime) = runtime(name) else {
        return;
    };
    let package = fixture("neighbours");
    assert_eq!(package.chunk_rows, [1, 64]);
    let mut model = open(&package, runtime);
    assert!(matches!(
        model.admission(),
        Some(Admission::Tolerant { .. })
    ));
    model.room = Some(Room::for_rows(63));
    let golden = package.golden.as_ref().unwrap();
    let error = model.run(&golden.columns).unwrap_err();
    assert!(error.to_string().contains("64 rows"), "{error}");
    assert_eq!(model.chunk_sizes(), [64]);
}

#[test]
fn a_row_that_the_model_refuses_is_still_rejected_alone_after_chunks_became_smaller() {
    let name =
        "infer::a_row_that_the_model_refuses_is_still_rejected_alone_after_chunks_became_smaller";
    let Some(runtime) = runtime(name) else {
        return;
    };
    let mut package = fixture("pipeline");
    package.chunk_rows = vec![4, 64];
    let golden = package.golden.clone().unwrap();
    let mut model = open(&package, runtime);
    model.run(&golden.columns).unwrap();
    // The chunk with the bad row fails, its first half passes, and then memory is short.
    model.room = Some(Room { rows: 4, runs: 2 });
    let mut channels: Vec<&str> = golden_texts(&package, &golden.columns, "channel");
    channels[40] = "?";
    let poisoned: ArrayRef = Arc::new(StringArray::from(channels));
    let poisoned = with(&package, &golden.columns, "channel", poisoned);
    let scored = model.run(&poisoned).unwrap();
    assert_eq!(scored.rejected[40], FAILED);
    assert_eq!(scored.rejected.iter().flatten().count(), 1);
    assert_eq!(model.chunk_sizes(), [4]);
    for row in (0..203).filter(|row| *row != 40) {
        assert_eq!(scored.score[row].to_bits(), golden.score[row].to_bits());
    }
    // Only bad rows, and nothing but a remembered row to tell them from a bad model: it must fit as well.
    let only: Vec<ArrayRef> = poisoned.iter().map(|column| column.slice(40, 1)).collect();
    assert_eq!(model.run(&only).unwrap().rejected, [FAILED]);
}

fn golden_texts<'a>(package: &Package, columns: &'a [ArrayRef], name: &str) -> Vec<&'a str> {
    let at = package
        .features
        .iter()
        .position(|feature| feature.name == name)
        .unwrap();
    let texts = columns[at].as_string::<i32>();
    (0..texts.len()).map(|row| texts.value(row)).collect()
}

#[test]
fn the_largest_batch_is_run_in_the_largest_chunks() {
    let Some(runtime) = runtime("infer::the_largest_batch_is_run_in_the_largest_chunks") else {
        return;
    };
    let mut package = reference("card-risk-mlp");
    package.chunk_rows = vec![64, 4096];
    let golden = package.golden.clone().unwrap();
    let mut model = open(&package, runtime);
    let scored = model.run(&repeated(&golden.columns, 65_536)).unwrap();
    assert_eq!(scored.chunk_rows, [4096; 65_536]);
    let have = golden.score.len();
    let equal = |row: usize| scored.score[row].to_bits() == golden.score[row % have].to_bits();
    assert!((0..65_536).all(equal));
}
