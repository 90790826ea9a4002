//! `kill -9` at every named point and at random times: nothing missing, nothing twice.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::kit::{self, Guarded, Signal, pipeline::Pipeline};

/// 128 + SIGKILL.
const KILLED: i32 = 137;

/// A process that is killed at its `nth` passage of a point, and one that goes on after it.
fn survives(point: &str, nth: usize) {
    let Some(kafka) = kit::kafka() else { return };
    let name = format!("kill-{}", point.replace('.', "-"));
    let pipeline = Pipeline::create(kafka, &name, "");
    pipeline.produce_payments(1, 300);
    let crash = format!("{point}:{nth}");
    let mut first = pipeline.run(
        "a",
        &["--set", "batch.max_rows=64"],
        &[("PROBITY_CRASH", &crash)],
    );
    assert_eq!(first.wait(), KILLED, "{}", first.lines().join("\n"));
    pipeline.produce_payments(2, 100);
    let mut second = pipeline.run("a", &[], &[]);
    pipeline.assert_books_agree(true);
    second.signal(Signal::Terminate);
    assert_eq!(second.wait(), 0, "{}", second.lines().join("\n"));
    assert_eq!(kafka.read_committed(&format!("{name}.scored")).len(), 400);
}

#[test]
fn killed_after_the_first_poll() {
    survives("lane.after-first-poll", 2);
}

#[test]
fn killed_after_produce() {
    survives("lane.after-produce", 2);
}

#[test]
fn killed_after_send_offsets() {
    survives("lane.after-send-offsets", 2);
}

#[test]
fn killed_before_commit() {
    survives("lane.before-commit", 2);
}

#[test]
fn killed_during_commit() {
    survives("lane.during-commit", 2);
}

#[test]
fn killed_after_commit() {
    survives("lane.after-commit", 2);
}

#[test]
fn killed_before_an_entry() {
    survives("archive.before-entry", 2);
}

#[test]
fn killed_between_entry_and_file() {
    survives("archive.after-entry", 2);
}

#[test]
fn killed_between_link_and_unlink() {
    survives("store.between-link-and-unlink", 14);
}

#[test]
fn killed_after_a_file() {
    survives("archive.after-file", 2);
}

/// Two processes share the group; one after the other is killed at a random time and started again,
/// while payments flow. The seed names the run.
#[test]
fn random_kills_of_two_processes_that_share_a_group() {
    let Some(kafka) = kit::kafka() else { return };
    let seed = number("PROBITY_KILL_SEED", 1);
    let kills = number("PROBITY_KILLS", 20);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let pipeline = Pipeline::create(kafka, "random-kills", "");
    let names = ["a", "b"];
    let mut processes: Vec<Guarded> = names.map(|name| pipeline.run(name, &[], &[])).into();
    for kill in 0..kills {
        pipeline.produce_payments(kill, 100);
        // Killing at a random time is the point of this wait.
        std::thread::sleep(Duration::from_millis(u64::from(random.next_u32() % 2_500)));
        let victim = (random.next_u32() % 2) as usize;
        processes[victim].kill();
        processes[victim] = pipeline.run(names[victim], &[], &[]);
    }
    let (agree, report) = pipeline.books(true);
    assert!(agree, "seed {seed}, {kills} kills:\n{report}");
    pipeline.assert_verified();
    for process in &mut processes {
        process.signal(Signal::Terminate);
        assert_eq!(process.wait(), 0, "{}", process.lines().join("\n"));
    }
    let scored = kafka.read_committed("random-kills.scored").len();
    assert_eq!(scored as u64, 100 * kills);
    if let Some(file) = std::env::var_os("PROBITY_SOAK_REPORT") {
        std::fs::write(file, report).unwrap();
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn an_abort_is_done_again() {
    let Some(kafka) = kit::kafka() else { return };
    let pipeline = Pipeline::create(kafka, "abort", "");
    pipeline.produce_payments(1, 400);
    let arguments = ["--set", "batch.max_rows=64"];
    let process = pipeline.run("a", &arguments, &[("PROBITY_FAULT", "abort")]);
    process.wait_for("planted: abort");
    pipeline.assert_books_agree(true);
}

/// The books find a lane that does not go back after an abort: so they would find it in the test above.
#[test]
fn a_rewind_that_is_left_out_is_found() {
    let Some(kafka) = kit::kafka() else { return };
    let pipeline = Pipeline::create(kafka, "no-rewind", "");
    pipeline.produce_payments(1, 400);
    let arguments = ["--roles", "score", "--set", "batch.max_rows=64"];
    let faults = [("PROBITY_FAULT", "abort,rewind-without-seek")];
    let _process = pipeline.run("a", &arguments, &faults);
    let (agree, report) = pipeline.books(false);
    assert!(!agree && report.contains("missing"), "{report}");
}
