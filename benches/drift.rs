//! What it costs to count an event for drift, in nanoseconds, for batches of several sizes.
//!
//! `make bench`, or `cargo bench --bench drift` with `ORT_DYLIB_PATH` set. The reference package, so the score and ten
//! features; one thread, the best of several rounds.

use std::hint::black_box;
use std::time::{Duration, Instant};

use probity::batch::{Batch, Lineage, Origin};
use probity::config::Config;
use probity::drift::{Drift, Seen, Settings, Subject};
use probity::generate::{Generator, Settings as Payments};
use probity::laps::Laps;
use probity::record::Offset;
use probity::setup::Setup;
use probity::stages::{Decided, Stages};

const BATCHES: [usize; 4] = [1, 16, 256, 4096];
const ROUNDS: usize = 20;
const EVENTS: usize = 1 << 15;

fn main() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/probity.toml");
    let config = Config::load(Some(&file), &[], &probity::config::environment())
        .expect("the shipped configuration is right");
    let setup = Setup::load(&config).unwrap_or_else(|fatal| panic!("{fatal}: use `make bench`"));
    let mut stages = setup.stages().expect("loaded above");
    let subject = Subject::of(&setup.package).expect("the reference package has a reference");
    let items = subject.items.len();
    let settings = Settings {
        window: Duration::from_secs(3600),
        rows_min: u64::MAX,
    };
    let drift = Drift::new(settings, Some(subject), 0);
    println!("{items} items; ns per event");
    for rows in BATCHES {
        let batches = decided(&mut stages, rows);
        let best = (0..ROUNDS).map(|_| round(&drift, &setup, &batches));
        let best = best.fold(f64::INFINITY, f64::min);
        println!("{rows:>6} {best:>8.1}");
    }
}

/// Payments in batches of so many rows, decided.
fn decided(stages: &mut Stages, rows: usize) -> Vec<Batch<Decided>> {
    // The first payments of a card know nothing of it yet.
    let payments = Generator::new(Payments::for_cards(2_000)).skip(40_000);
    let mut values = payments.take(EVENTS).map(|payment| {
        let mut bytes = Vec::new();
        payment.write_json(&mut bytes);
        bytes
    });
    let batch = |_| {
        let values: Vec<Vec<u8>> = values.by_ref().take(rows).collect();
        let mut lineage = Lineage::default();
        let origin = |offset| Origin::Record {
            offset: Offset(offset),
            broker_time: None,
            leader_epoch: None,
        };
        lineage.push_part(0, (0..).take(rows).map(origin));
        let values = values.iter().map(|value| Some(value.as_slice()));
        stages
            .run(lineage, values, &mut Laps::start())
            .expect("the model runs")
    };
    (0..(EVENTS / rows).min(4096)).map(batch).collect()
}

fn round(drift: &Drift, setup: &Setup, batches: &[Batch<Decided>]) -> f64 {
    let package = setup.package.digest().to_string();
    let rows: usize = batches.iter().map(|batch| batch.lineage().rows()).sum();
    let start = Instant::now();
    for batch in batches {
        let scored = &batch.payload().scored;
        let seen = Seen {
            score: &scored.score,
            features: &scored.featured.features,
            live: None,
        };
        let subject = drift.subject_of(&package).expect("it is watched");
        drift.count(&subject, black_box(&seen));
    }
    start.elapsed().as_secs_f64() * 1e9 / rows as f64
}
