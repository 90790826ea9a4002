//! What a lane and the archiver do, without Kafka: events in, segments of Parquet out.
//!
//! `stages` and `pipeline` measure with it. The order of the calls is that of `lane.rs`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::Array as _;
use bytes::Bytes;
use probity::archive::archiver::{self, Archiver};
use probity::archive::keeper::Board;
use probity::archive::{self, Nobody, Origin, Record};
use probity::batch::{self, Batch, Lineage};
use probity::clock::now_micros;
use probity::config::Config;
use probity::evidence::{Context, Message, Range, Writer};
use probity::generate::{Generator, Profile, Settings};
use probity::keys::Keys;
use probity::lane::Sealer;
use probity::laps::{Laps, Step};
use probity::publish::records::{self, Stamp};
use probity::record::{Digest, NextOffset, Offset, Position};
use probity::setup::Setup;
use probity::stages::{Decided, Stages};
use probity::topics::Identity;
use rdkafka::message::{Headers as _, OwnedHeaders};

const TIME: i64 = 1_767_225_600_000_000;
const VALUE_BYTES_MAX: usize = 2 << 20;

/// Payments as bytes, more than a cache holds, so that neither it nor the branch predictor learns them.
pub struct Events(Vec<Vec<u8>>);

impl Events {
    #[must_use]
    pub fn new(profile: Profile) -> Events {
        let settings = Settings {
            profile,
            ..Settings::for_cards(50_000)
        };
        let json = |payment: probity::generate::Payment| {
            let mut bytes = Vec::new();
            payment.write_json(&mut bytes);
            bytes
        };
        // The first payments of a card know nothing of it yet.
        let payments = Generator::new(settings).skip(200_000).take(1 << 16);
        Events(payments.map(json).collect())
    }

    #[must_use]
    pub fn mean_bytes(&self) -> usize {
        self.0.iter().map(Vec::len).sum::<usize>() / self.0.len()
    }

    /// `rows` events from a place that moves on with every turn.
    fn batch(&self, turn: usize, rows: usize) -> impl ExactSizeIterator<Item = Option<&[u8]>> {
        let start = turn * rows;
        (start..start + rows).map(|index| Some(self.0[index % self.0.len()].as_slice()))
    }
}

/// Time of each part of the work, summed.
#[derive(Clone, Default)]
pub struct Times {
    pub steps: [Duration; Step::ALL.len()],
    pub scores: Duration,
    pub evidence: Duration,
    pub archive: Duration,
    pub evidence_bytes: usize,
}

/// A lane and an archiver without their clients.
pub struct Line {
    stages: Stages,
    stamp: Stamp,
    writer: Writer,
    sealer: Sealer,
    archiver: Archiver,
    heads: Vec<Digest>,
    offsets: Vec<i64>,
    positions: Vec<i64>,
    #[allow(dead_code, reason = "not every bench looks at the archive")]
    keys: Arc<Keys>,
    #[allow(dead_code, reason = "the others only keep it until the end")]
    folder: tempfile::TempDir,
}

impl Line {
    /// The configuration as it is shipped, with so many partitions.
    #[must_use]
    #[allow(dead_code, reason = "not every bench has it as it is shipped")]
    pub fn new(partitions: usize) -> Line {
        Line::with(partitions, &[])
    }

    /// As `new`, with these keys set otherwise: `key=value`.
    #[must_use]
    pub fn with(partitions: usize, sets: &[String]) -> Line {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let file = root.join("config/probity.toml");
        let config = Config::load(Some(&file), sets, &probity::config::environment())
            .expect("the shipped configuration is right");
        let setup =
            Setup::load(&config).unwrap_or_else(|fatal| panic!("{fatal}: use `make bench`"));
        let stages = setup.stages().expect("loaded above");
        let identity = Identity {
            cluster_id: "bench".to_owned(),
            input_topic_id: "input".to_owned(),
            evidence_topic_id: "evidence".to_owned(),
        };
        let keys = keys();
        let kept = keys.clone();
        let sealer = Sealer::new(keys.clone()).expect("there is a key for every role");
        let facts = setup.facts(&config, &identity, sealer.commitment_key());
        let model = (
            &*facts.model_name,
            &*facts.model_version,
            &*facts.model_sha256,
        );
        let stamp = Stamp::new("payments", "input", model, &facts.policy_version);
        let columns = stages
            .evidence_columns(&setup.schema)
            .expect("loaded above");
        let writer = Writer::new(Arc::new(Context::new(&columns, facts)));
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let store = Arc::new(archive::Local::open(folder.path()).expect("it is empty"));
        probity::setup::archive::keep(&*store, &setup, &config).expect("it is empty");
        let origin = Origin {
            cluster_id: "bench".to_owned(),
            evidence_topic: "payments.evidence".to_owned(),
            evidence_topic_id: "evidence".to_owned(),
        };
        let settings = archive::Settings::default();
        let mut archiver = Archiver::open(
            store,
            origin,
            archiver::Identity {
                writer: "bench".to_owned(),
                keys,
                clock: now_micros,
            },
            settings,
            Arc::new(Nobody),
            Some((Box::new(NoBoard), Duration::from_secs(60))),
        )
        .expect("the archive is new");
        for partition in 0..partitions {
            archiver
                .assign(partition as i32)
                .expect("the archive is new");
        }
        Line {
            stages,
            stamp,
            writer,
            sealer,
            archiver,
            heads: vec![Digest::ZERO; partitions],
            offsets: vec![0; partitions],
            positions: vec![0; partitions],
            keys: kept,
            folder,
        }
    }

    /// Where the archive is.
    #[must_use]
    #[allow(dead_code, reason = "not every bench looks at the archive")]
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    #[must_use]
    #[allow(dead_code, reason = "not every bench looks at the archive")]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// One round of `rows` events, spread evenly over the partitions.
    pub fn round(&mut self, events: &Events, turn: usize, rows: usize, times: &mut Times) {
        let lineage = self.lineage(rows);
        let mut laps = Laps::start();
        let batch = self
            .stages
            .run(lineage, events.batch(turn, rows), &mut laps)
            .expect("the model runs");
        for (step, time) in laps.iter() {
            times.steps[step as usize] += time;
        }
        let start = Instant::now();
        std::hint::black_box(self.scores(&batch));
        let scored = Instant::now();
        let values: Vec<_> = events.batch(turn, rows).collect();
        let messages = self.evidence(&batch, &values);
        let written = Instant::now();
        for (partition, message, headers) in &messages {
            times.evidence_bytes += message.value.len();
            self.archive(*partition, message, headers);
        }
        times.scores += scored - start;
        times.evidence += written - scored;
        times.archive += written.elapsed();
    }

    /// Writes what the archiver still holds.
    pub fn seal(&mut self, times: &mut Times) {
        let start = Instant::now();
        self.archiver.seal_all().expect("the folder takes it");
        self.archiver.sign_head().expect("the folder takes it");
        times.archive += start.elapsed();
    }

    fn lineage(&self, rows: usize) -> Lineage {
        let partitions = self.offsets.len();
        let mut lineage = Lineage::default();
        for (partition, first) in self.offsets.iter().enumerate() {
            let count = (rows + partition) / partitions;
            let origins = (*first..).take(count).map(|offset| batch::Origin::Record {
                offset: Offset(offset),
                broker_time: Some(TIME),
                leader_epoch: Some(0),
            });
            if count > 0 {
                lineage.push_part(partition as i32, origins);
            }
        }
        lineage
    }

    fn scores(&self, batch: &Batch<Decided>) -> Vec<u8> {
        let ids = self.stages.event_ids(batch.payload());
        let times = self.stages.event_times(batch.payload());
        let mut bytes = Vec::with_capacity(batch.lineage().rows() * 512);
        for part in batch.lineage().parts() {
            for row in part.rows.clone() {
                let verdict = self
                    .stages
                    .verdict(batch, row)
                    .expect("every payment is sound");
                let scored = records::Scored {
                    partition: part.partition,
                    offset: batch.lineage().origins()[row].first(),
                    event_id: ids.is_valid(row).then(|| ids.value(row)),
                    event_time: times.is_valid(row).then(|| times.value(row)),
                    score_time: TIME,
                    score: verdict.score,
                    margin: verdict.margin,
                    decision: verdict.decision,
                    rule: batch.payload().ruled.of(row),
                };
                records::write_scored(&mut bytes, &self.stamp, &scored, |out| {
                    self.stages.write_reasons(out, batch.payload(), row)
                });
            }
        }
        bytes
    }

    fn evidence(
        &mut self,
        batch: &Batch<Decided>,
        values: &[Option<&[u8]>],
    ) -> Vec<(i32, Message, OwnedHeaders)> {
        let lineage = batch.lineage();
        let schema = self.writer.context().schema().clone();
        let seals = self
            .sealer
            .seal("input", lineage, values)
            .expect("the system has random numbers");
        let rows = self
            .stages
            .evidence(batch, &schema, &seals, &vec![false; lineage.rows()]);
        let mut messages = Vec::new();
        for part in lineage.parts() {
            let place = part.partition as usize;
            let first = self.offsets[place];
            let next = first + part.rows.len() as i64;
            let range = Range {
                first: Offset(first),
                next: NextOffset(next),
                ingest_time: TIME,
                score_time: TIME,
                prev: self.heads[place],
                brings_context: first == 0,
            };
            let slice = rows.slice(part.rows.start, part.rows.len());
            let (written, head) = self
                .writer
                .write(&slice, range, VALUE_BYTES_MAX)
                .expect("a payment fits a message");
            self.heads[place] = head;
            self.offsets[place] = next;
            for message in written {
                let headers = self.sealer.headers(part.partition, &message);
                messages.push((part.partition, message, headers));
            }
        }
        messages
    }

    fn archive(&mut self, partition: i32, message: &Message, headers: &OwnedHeaders) {
        let position = &mut self.positions[partition as usize];
        let header = message.header.to_bytes();
        let record = Record {
            position: Position(*position),
            header: Some(&header),
            signature: headers.get(1).value,
            value: &message.value,
        };
        *position += 1;
        self.archiver.message(partition, record).expect("it joins");
    }
}

/// Nobody else keeps checkpoints.
struct NoBoard;

impl Board for NoBoard {
    fn newest(&mut self) -> Result<Vec<Bytes>, String> {
        Ok(Vec::new())
    }

    fn post(&mut self, _checkpoint: &str) -> Result<(), String> {
        Ok(())
    }
}

/// New keys for every role.
fn keys() -> Arc<Keys> {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    Keys::create(folder.path(), "bench.example").expect("the folder is new");
    Arc::new(Keys::load(folder.path()).expect("they were made above"))
}
