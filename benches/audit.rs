//! What proof costs: hashing and signing per event, verifying an archive, and looking one decision up.
//!
//! `make bench`, or `cargo bench --bench audit -- [ROWS]` with `ORT_DYLIB_PATH` set. Makes an archive of so
//! many rows first (10 million: minutes, and some GB in the system's temporary place).

mod common;

use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Events, Line, Times};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use probity::archive::leaf::{Columns, Leaves, RowTree};
use probity::audit::find::{Event, find};
use probity::audit::prove::Proof;
use probity::audit::{ledger, show, verify};
use probity::evidence;
use probity::generate::Profile;
use probity::keys::Trust;
use probity::record::{Digest, Offset};

const PARTITIONS: usize = 12;
const ROWS: usize = 4096;

fn main() {
    let asked = std::env::args().filter_map(|word| word.parse().ok()).next();
    let rows: usize = asked.unwrap_or(10_000_000);
    let events = Events::new(Profile::Compact);
    let mut line = Line::new(PARTITIONS);
    let mut times = Times::default();
    for turn in 0..rows.div_ceil(ROWS) {
        line.round(&events, turn, ROWS, &mut times);
    }
    line.seal(&mut times);
    let folder = line.folder();
    let trust = &line.keys().trust;
    costs_per_event(&line, &events);
    whole(folder, trust);
    one(folder, trust);
}

fn best(rounds: usize, mut measured: impl FnMut() -> Duration) -> Duration {
    (0..rounds).map(|_| measured()).min().expect("at least one")
}

/// Hashing and signing, on both paths, with as many rows to a message as a full round has.
fn costs_per_event(line: &Line, events: &Events) {
    let (keys, per_message) = (line.keys(), (ROWS / PARTITIONS) as f64);
    let ns = |time: Duration, events: usize| time.as_secs_f64() * 1e9 / events as f64;
    let commitment = keys
        .commitment
        .as_ref()
        .expect("there is a key for every role");
    let payload = vec![b'x'; events.mean_bytes()];
    let committed = best(10, || {
        let start = Instant::now();
        for offset in 0..ROWS {
            black_box(commitment.of("input", 0, Offset(offset as i64), &payload));
        }
        start.elapsed()
    });
    let signer = keys.scorer.as_ref().expect("there is a key for every role");
    let head = Digest::of(b"head");
    let signed = best(10, || {
        let start = Instant::now();
        (0..100).for_each(|_| {
            black_box(evidence::sign(signer, 0, black_box(head)));
        });
        start.elapsed()
    });
    let signature = evidence::sign(signer, 0, head);
    let verified = best(10, || {
        let start = Instant::now();
        for _ in 0..100 {
            evidence::verify(&keys.trust.scorer, 0, black_box(head), &signature)
                .expect("it was signed above");
        }
        start.elapsed()
    });
    let (leaves, tree) = hashing(line.folder());
    let (signed, verified) = (ns(signed, 100), ns(verified, 100));
    let all = ns(committed, ROWS) + signed / per_message + verified / per_message + leaves + tree;
    println!("ns per event, {per_message:.0} rows to a message");
    println!(
        "  commitment to a payload of {} bytes {:>8.0}",
        payload.len(),
        ns(committed, ROWS)
    );
    println!(
        "  signature of a message {:>8.0} ({signed:.0} each)",
        signed / per_message
    );
    println!(
        "  its verification {:>8.0} ({verified:.0} each)",
        verified / per_message
    );
    println!("  leaf of a row {leaves:>8.0}");
    println!("  tree over the rows {tree:>8.0}");
    println!("  all {all:>8.0}");
}

/// Leaf and tree, ns per row, over the rows of one segment.
fn hashing(folder: &Path) -> (f64, f64) {
    let segments = folder.join("segments");
    let day = first(&segments);
    let file = File::open(first(&day)).expect("a segment");
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).expect("a segment");
    let text = std::fs::read(first(&folder.join("columns"))).expect("a columns text");
    let columns = Columns::parse(&text).expect("a columns text");
    let reader = builder.with_batch_size(1024).build().expect("a segment");
    let batches: Vec<_> = reader.take(64).map(|rows| rows.expect("rows")).collect();
    let rows: usize = batches.iter().map(|rows| rows.num_rows()).sum();
    let mut hasher = Leaves::new(&columns, batches[0].schema_ref()).expect("its own columns");
    let mut leaves = Vec::new();
    let hashed = best(5, || {
        leaves.clear();
        let start = Instant::now();
        for batch in &batches {
            leaves.extend_from_slice(hasher.of(batch));
        }
        start.elapsed()
    });
    let treed = best(5, || {
        let start = Instant::now();
        let mut tree = RowTree::default();
        tree.extend(leaves.iter().copied());
        black_box(tree.roots());
        start.elapsed()
    });
    let ns = |time: Duration| time.as_secs_f64() * 1e9 / rows as f64;
    (ns(hashed), ns(treed))
}

fn first(folder: &Path) -> std::path::PathBuf {
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .expect("the archive was made above")
        .map(|entry| entry.expect("a name").path())
        .collect();
    entries.sort();
    entries.swap_remove(0)
}

fn whole(folder: &Path, trust: &Trust) {
    let start = Instant::now();
    let report = verify::verify(&verify::Request::all(folder, trust.clone())).expect("it is read");
    let took = start.elapsed().as_secs_f64();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "verify: {} rows in {} files, {:.0} MB, {took:.1} s on {cores} cores: {:.0} rows a second and core",
        report.rows,
        report.files,
        report.bytes as f64 / 1e6,
        report.rows as f64 / took / cores as f64
    );
}

fn one(folder: &Path, trust: &Trust) {
    let store = probity::audit::open(folder).expect("it is an archive");
    for event in ["payments:7:1000", "nobody-has-this-id"] {
        let start = Instant::now();
        let ledger = ledger::read(&store, trust, &[]).expect("it is read");
        let read = start.elapsed();
        let found = find(folder, &ledger, &Event::parse(event)).expect("it is read");
        let looked = start.elapsed() - read;
        println!(
            "ledger of {} entries read in {read:.0?}; {event} looked up in {looked:.0?}",
            ledger.records.len()
        );
        let Some(&found) = found.first() else {
            continue;
        };
        let start = Instant::now();
        let proof = Proof::make(folder, &ledger, found).expect("it is signed");
        let proven = start.elapsed();
        let start = Instant::now();
        black_box(show::page(folder, &ledger, found).expect("it is there"));
        println!(
            "prove {proven:.0?}, show {:.0?}; a proof has {} bytes",
            start.elapsed(),
            proof.to_text().len()
        );
    }
}
