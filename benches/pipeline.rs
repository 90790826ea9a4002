//! What an event costs in process: everything but the Kafka client, as microseconds of CPU time, with
//! the rounds of a lane that is behind (4,096 rows) and of one that keeps up with 2,000 events a second, and with all,
//! some and no decisions explained.
//!
//! `make bench`, or `cargo bench --bench pipeline` with `ORT_DYLIB_PATH` set.

mod common;

use std::fs;

use common::{Events, Line, Times};
use probity::generate::Profile;

const PARTITIONS: usize = 12;
const ROWS: [usize; 3] = [20, 256, 4096];
const ROUNDS: usize = 5;
const EVENTS_PER_ROUND: usize = 1 << 17;

fn main() {
    println!("{PARTITIONS} partitions, one thread, archive on; the best of {ROUNDS} runs");
    for profile in [Profile::Compact, Profile::Full] {
        let events = Events::new(profile);
        for rows in ROWS {
            line(&events, rows, "not_approved");
        }
        for explained in ["none", "all"] {
            line(&events, 4096, explained);
        }
    }
}

/// Measures rounds of so many rows, of which these are explained, and prints a line.
fn line(events: &Events, rows: usize, explained: &str) {
    let mut line = Line::with(PARTITIONS, &[format!("explain.rows={explained}")]);
    let turns = EVENTS_PER_ROUND / rows;
    let (mut best, mut bytes) = (f64::INFINITY, 0);
    for round in 0..ROUNDS {
        let mut times = Times::default();
        let before = cpu_seconds();
        for turn in 0..turns {
            line.round(events, round * turns + turn, rows, &mut times);
        }
        line.seal(&mut times);
        best = best.min((cpu_seconds() - before) * 1e6 / (turns * rows) as f64);
        bytes = times.evidence_bytes / (turns * rows);
    }
    let json = events.mean_bytes();
    println!(
        "{json:>5} bytes of JSON, rounds of {rows:>4}, explained: {explained:>12}: {best:6.2} µs per event, \
         {bytes:>5} bytes of IPC"
    );
}

/// CPU time of this process so far. Linux counts in hundredths of a second.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .expect("a name")
        .1
        .split_whitespace()
        .collect();
    let ticks = |index: usize| fields[index].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) / 100.0
}
