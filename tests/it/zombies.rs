//! An old instance that still runs after it was replaced changes nothing.

use crate::kit::{self, Guarded, Signal, pipeline::Pipeline};

/// Stops `a` at a point, lets `b` take over and finish, wakes `a`, and takes the books.
fn changes_nothing(point: &str, name: &str, is_group_empty_between: bool, skew: &str) {
    let Some(kafka) = kit::kafka() else { return };
    let pipeline = Pipeline::create(kafka, name, "");
    pipeline.produce_payments(1, 300);
    let narrow = ["--set", "batch.max_rows=64"];
    let stop = format!("{point}:2");
    let zombie = pipeline.run("a", &narrow, &[("PROBITY_STOP", &stop)]);
    zombie.wait_for("crash point");
    let variables = [("PROBITY_CLOCK_SKEW_SECONDS", skew)];
    let mut heir = pipeline.run("b", &["--seal-on-stop"], &variables);
    pipeline.assert_books_agree(true);
    if is_group_empty_between {
        end(&mut heir);
    }
    pipeline.produce_payments(2, 100);
    zombie.signal(Signal::Continue);
    let mut last = pipeline.run("c", &["--seal-on-stop"], &variables);
    pipeline.assert_books_agree(true);
    end(&mut last);
    if !is_group_empty_between {
        end(&mut heir);
    }
    assert_eq!(kafka.read_committed(&format!("{name}.scored")).len(), 400);
}

fn end(process: &mut Guarded) {
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0, "{}", process.lines().join("\n"));
}

#[test]
fn a_scorer_stopped_before_its_commit() {
    changes_nothing("lane.before-commit", "zombie-commit", false, "0");
}

#[test]
fn a_scorer_stopped_before_its_commit_while_the_group_became_empty() {
    changes_nothing("lane.before-commit", "zombie-empty", true, "0");
}

#[test]
fn a_scorer_stopped_before_it_sends_offsets() {
    changes_nothing("lane.after-produce", "zombie-offsets", false, "0");
}

#[test]
fn an_archiver_stopped_before_its_entry() {
    changes_nothing("archive.before-entry", "zombie-entry", false, "0");
}

#[test]
fn an_archiver_stopped_between_entry_and_file_by_clocks_on_two_days() {
    changes_nothing("archive.after-entry", "zombie-file", true, "86400");
}
