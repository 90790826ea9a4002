//! What each stage costs, in nanoseconds per event, for batches of several sizes.
//!
//! `make bench`, or `cargo bench --bench stages -- [compact|full] [ROWS…] [KEY=VALUE…]` with `ORT_DYLIB_PATH` set.
//! The best of several rounds; one thread, the reference model, the shipped configuration but for the keys that are
//! set, such as `explain.rows=all`.

mod common;

use std::time::Duration;

use common::{Events, Line, Times};
use probity::generate::Profile;
use probity::laps::Step;

const BATCHES: [usize; 4] = [1, 16, 256, 4096];
const ROUNDS: usize = 10;
const EVENTS_PER_ROUND: usize = 1 << 15;

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<usize> = asked.iter().filter_map(|word| word.parse().ok()).collect();
    let batches = if numbers.is_empty() {
        BATCHES.to_vec()
    } else {
        numbers
    };
    let sets: Vec<String> = asked
        .iter()
        .filter(|word| word.contains('='))
        .cloned()
        .collect();
    let is_asked = |name: &str| asked.iter().any(|word| word == name);
    let both = is_asked("compact") == is_asked("full");
    if both || is_asked("compact") {
        table(&Events::new(Profile::Compact), &batches, &sets);
    }
    if both || is_asked("full") {
        table(&Events::new(Profile::Full), &batches, &sets);
    }
}

fn table(events: &Events, batches: &[usize], sets: &[String]) {
    let json = events.mean_bytes();
    println!("{json} bytes of JSON; ns per event for batches of");
    print!("{:>12}", "");
    batches.iter().for_each(|rows| print!("{rows:>9}"));
    println!();
    let columns: Vec<Vec<(&str, f64)>> = batches
        .iter()
        .map(|rows| measure(events, *rows, sets))
        .collect();
    for (line, (name, _)) in columns[0].iter().enumerate() {
        print!("{name:>12}");
        columns
            .iter()
            .for_each(|column| print!("{:>9.0}", column[line].1));
        println!();
    }
}

/// The best time of each stage.
fn measure(events: &Events, rows: usize, sets: &[String]) -> Vec<(&'static str, f64)> {
    let mut line = Line::with(1, sets);
    let turns = (EVENTS_PER_ROUND / rows).min(4096);
    let mut best: Vec<(&str, f64)> = Vec::new();
    for round in 0..ROUNDS {
        let mut times = Times::default();
        for turn in 0..turns {
            line.round(events, round * turns + turn, rows, &mut times);
        }
        line.seal(&mut times);
        let per_event = |time: Duration| time.as_secs_f64() * 1e9 / (turns * rows) as f64;
        let step = |step: Step| (step.as_str(), per_event(times.steps[step as usize]));
        let steps = [
            Step::Decode,
            Step::Features,
            Step::Infer,
            Step::Decide,
            Step::Explain,
        ];
        let mut found: Vec<(&str, f64)> = steps.map(step).into();
        found.push(("scores", per_event(times.scores)));
        found.push(("evidence", per_event(times.evidence)));
        found.push(("archive", per_event(times.archive)));
        let bytes = times.evidence_bytes as f64 / (turns * rows) as f64;
        if best.is_empty() {
            best = found;
            best.push(("sum", 0.0));
            best.push(("IPC bytes", bytes));
        } else {
            best.iter_mut()
                .zip(found)
                .for_each(|(best, found)| best.1 = best.1.min(found.1));
        }
    }
    let (sum, parts) = best[..9]
        .split_last_mut()
        .expect("nine lines have a last one");
    sum.1 = parts.iter().map(|(_, time)| time).sum();
    best
}
