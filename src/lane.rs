//! The lane: one share-nothing worker on its own thread, and its round.
//!
//! A round gathers what has arrived, decides it, and publishes scores, evidence, dead letters and the
//! consumed offsets in one transaction. Whatever goes wrong, a round ends in one of three ways: it is
//! committed; it is undone, and its records are gathered again; or its outcome is unknown, and the
//! brokers are asked. Nothing of a round outlives it but positions and chain heads.

mod draft;
mod outcome;
mod round;
mod seal;

use std::collections::BTreeSet;
use std::ops::Range as Rows;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use rdkafka::TopicPartitionList;
use rdkafka::config::ClientConfig;
use rdkafka::message::Message as _;

use crate::batch::{Batch, Lineage, Origin};
use crate::clock::now_micros;
use crate::error::{Exit, Fatal, Result};
use crate::evidence::{Context, Facts, Range, RowTooLarge, Seal, Writer};
use crate::laps::{Laps, Step};
use crate::native;
use crate::package::Edition;
use crate::patience::{Patience, Tries};
use crate::publish::records::{self, Stamp};
use crate::publish::{Outgoing, Publisher, Timeouts};
use crate::record::{Offset, Reason, Rejection, Stage};
use crate::schema::InputSchema;
use crate::source::{self, Change, Gather, Gathered, Item, Limits, Source, Standing, Topics};
use crate::stages::{Decided, Stages};
use crate::succession::{self, Seat};

use draft::{Draft, Testimony};
pub use round::{Counts, Fate, Round};
pub use seal::Sealer;

/// What a lane is told. Cloned for each.
#[derive(Clone)]
pub struct Settings {
    /// The consumer group.
    pub group: String,
    pub topics: Topics,
    pub scored: String,
    pub evidence: String,
    pub dead_letter: String,
    pub limits: Limits,
    /// The largest value of a record that the producer sends.
    pub value_bytes_max: usize,
    /// Headers of the input that go on to the scored record, and how many bytes of them.
    pub headers: Vec<String>,
    pub header_bytes_max: usize,
    pub timeouts: Timeouts,
    pub patience: Patience,
    /// What decides, apart from the topic's id, which only the source knows.
    pub facts: Facts,
    /// The package that decides, for whoever comes after.
    pub edition: Edition,
    pub schema: InputSchema,
    pub sealer: Sealer,
    /// Where the next model waits.
    pub seat: Seat,
}

/// What happens in a lane, for metrics and readiness. Called on the lane's thread, per round.
pub trait Observer {
    fn on_change(&mut self, change: &Change);
    fn on_round(&mut self, round: &Round<'_>);
    /// How far behind every partition is that the lane holds, about once a second.
    fn on_standing(&mut self, standings: &[Standing]);
}

struct Lane<'c> {
    settings: Settings,
    source: Source<'c>,
    publisher: Publisher,
    stages: Stages,
    writer: Writer,
    stamp: Stamp,
    /// Partitions whose readers have seen the context.
    informed: BTreeSet<i32>,
    /// Fewer than the settings say while a record that the brokers refuse is looked for.
    rows_max: usize,
    /// The record that the brokers refuse.
    poison: Option<(i32, Offset)>,
    /// Transactions that failed since the last one that did not.
    failures: usize,
    /// Since the first of them.
    failing: Option<Tries>,
    /// When the last round ended.
    ended: Instant,
    /// When it was last said how far behind the partitions are.
    stood: Instant,
}

const STANDING_INTERVAL: Duration = Duration::from_secs(1);

/// Runs a lane until it is told to stop. Blocks; belongs on a thread of its own.
///
/// # Errors
/// When something fails that a restart or a person must see to.
pub fn run(
    settings: Settings,
    consumer: &ClientConfig,
    producer: ClientConfig,
    stages: Stages,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<()> {
    // First the producer: it fences its predecessor before this one reads a position.
    let publisher = Publisher::connect(producer, settings.timeouts, settings.patience.clone())?;
    let consumer = source::connect(consumer)?;
    let result = Source::subscribe(
        &consumer,
        settings.topics.clone(),
        settings.patience.clone(),
    )
    .and_then(|source| Lane::new(settings, source, publisher, stages))
    .and_then(|mut lane| {
        while !stop.load(Ordering::Relaxed) {
            lane.round(observer)?;
            lane.stand(observer);
            lane.settings.patience.pulse.beat();
        }
        Ok(())
    });
    source::close(&consumer);
    result
}

impl<'c> Lane<'c> {
    fn new(
        settings: Settings,
        source: Source<'c>,
        publisher: Publisher,
        stages: Stages,
    ) -> Result<Lane<'c>> {
        let (writer, stamp) = introduce(&settings, &stages, source.topic_id())?;
        let rows_max = settings.limits.rows_max;
        Ok(Lane {
            settings,
            source,
            publisher,
            stages,
            writer,
            stamp,
            informed: BTreeSet::new(),
            rows_max,
            poison: None,
            failures: 0,
            failing: None,
            ended: Instant::now(),
            stood: Instant::now(),
        })
    }

    fn round(&mut self, observer: &mut dyn Observer) -> Result<()> {
        self.succeed()?;
        let member = self.source.member();
        let limits = Limits {
            rows_max: self.rows_max,
            ..self.settings.limits
        };
        let mut laps = Laps::start();
        let gathered = self.source.gather(&limits, self.ended)?;
        self.heed_changes(observer)?;
        let Gather::Rows(parts) = gathered else {
            return Ok(());
        };
        let Some(member) = member else {
            return self.source.rewind(parts.iter().map(|part| part.partition));
        };
        laps.end(Step::Gather);
        let ingest_time = now_micros();
        let values = values(&parts);
        let mut batch = self
            .stages
            .run(lineage(&parts), values.iter().copied(), &mut laps)?;
        self.reject_poison(&mut batch);
        let topic_id = self.source.topic_id();
        let seals = self
            .settings
            .sealer
            .seal(topic_id, batch.lineage(), &values)?;
        let draft = self.draft(&parts, &mut batch, &seals, ingest_time);
        laps.end(Step::Evidence);
        let offsets = self.offsets(&draft)?;
        let records = self.records(&parts, &batch, &draft);
        let outcome = self
            .publisher
            .transact(records.into_iter(), &offsets, &member, &mut laps)?;
        let fate = self.conclude(outcome, &batch, &draft)?;
        laps.end(Step::Commit);
        observer.on_round(&Round {
            lineage: batch.lineage(),
            decided: batch.payload(),
            package: &self.settings.facts.package_sha256,
            fate,
            ingest_time,
            end_time: now_micros(),
            laps: &laps,
        });
        self.ended = Instant::now();
        Ok(())
    }

    /// Takes over the next model, if one is ready. Readers are told with the next message.
    fn succeed(&mut self) -> Result<()> {
        if let Some(successor) = self.settings.seat.take() {
            self.stages = successor.stages;
            self.settings.facts = successor.facts;
            self.settings.edition = successor.edition;
            let topic_id = self.source.topic_id();
            (self.writer, self.stamp) = introduce(&self.settings, &self.stages, topic_id)?;
            self.informed.clear();
        }
        Ok(())
    }

    /// Says now and then how far behind the partitions are.
    fn stand(&mut self, observer: &mut dyn Observer) {
        if self.stood.elapsed() >= STANDING_INTERVAL {
            self.stood = Instant::now();
            observer.on_standing(&self.source.standings(now_micros()));
        }
    }

    /// Tells of changes of the assignment, and forgets what held only before them.
    fn heed_changes(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let changes = self.source.take_changes();
        if !changes.is_empty() {
            self.informed.clear();
        }
        for change in &changes {
            if let Change::Inherited { partition, model } = change {
                succession::heed(*partition, model, &self.settings.edition);
            }
            observer.on_change(change);
        }
        if self.source.topic_id() != self.writer.context().facts().input_topic_id {
            let topic_id = self.source.topic_id();
            (self.writer, self.stamp) = introduce(&self.settings, &self.stages, topic_id)?;
        }
        Ok(())
    }

    /// Writes everything that will be published. Rows that fit no message are rejected here.
    fn draft(
        &mut self,
        parts: &[Gathered<'_>],
        batch: &mut Batch<Decided>,
        seals: &[Seal],
        ingest_time: i64,
    ) -> Draft {
        let score_time = now_micros();
        let (scores, ranges) = self.write_scores(batch, score_time);
        let mut without = vec![false; batch.lineage().rows()];
        loop {
            let rows = self.evidence(batch, seals, &without);
            match self.write_evidence(parts, batch, &rows, ingest_time, score_time) {
                Ok(evidence) => {
                    return Draft {
                        scores,
                        ranges,
                        evidence,
                    };
                }
                Err(RowTooLarge(row)) => {
                    assert!(
                        !without[row],
                        "a row without its own columns fits any message"
                    );
                    without[row] = true;
                    let rejection = Rejection::new(Stage::Publish, Reason::EvidenceTooLarge);
                    batch.lineage_mut().reject(row, rejection);
                }
            }
        }
    }

    fn write_scores(
        &self,
        batch: &mut Batch<Decided>,
        score_time: i64,
    ) -> (Vec<u8>, Vec<(usize, Rows<usize>)>) {
        let rows = batch.lineage().rows();
        let mut bytes = Vec::with_capacity(rows * 512);
        let mut ranges = Vec::with_capacity(rows);
        let mut too_large = Vec::new();
        let ids = self.stages.event_ids(batch.payload());
        let times = self.stages.event_times(batch.payload());
        for part in batch.lineage().parts() {
            for row in part.rows.clone() {
                let Some(verdict) = self.stages.verdict(batch, row) else {
                    continue;
                };
                let start = bytes.len();
                let scored = records::Scored {
                    partition: part.partition,
                    offset: batch.lineage().origins()[row].first(),
                    event_id: arrow::array::Array::is_valid(ids, row).then(|| ids.value(row)),
                    event_time: arrow::array::Array::is_valid(times, row).then(|| times.value(row)),
                    score_time,
                    score: verdict.score,
                    margin: verdict.margin,
                    decision: verdict.decision,
                    rule: batch.payload().ruled.of(row),
                };
                records::write_scored(&mut bytes, &self.stamp, &scored, |out| {
                    self.stages.write_reasons(out, batch.payload(), row)
                });
                if bytes.len() - start > self.settings.value_bytes_max {
                    bytes.truncate(start);
                    too_large.push(row);
                } else {
                    ranges.push((row, start..bytes.len()));
                }
            }
        }
        let rejection = Rejection::new(Stage::Publish, Reason::ScoredTooLarge);
        too_large
            .into_iter()
            .for_each(|row| batch.lineage_mut().reject(row, rejection));
        (bytes, ranges)
    }

    fn evidence(&self, batch: &Batch<Decided>, seals: &[Seal], without: &[bool]) -> RecordBatch {
        let schema = self.writer.context().schema();
        self.stages.evidence(batch, schema, seals, without)
    }

    fn write_evidence(
        &self,
        parts: &[Gathered<'_>],
        batch: &Batch<Decided>,
        rows: &RecordBatch,
        ingest_time: i64,
        score_time: i64,
    ) -> Result<Vec<Testimony>, RowTooLarge> {
        let mut testimonies = Vec::with_capacity(parts.len());
        for (gathered, part) in parts.iter().zip(batch.lineage().parts()) {
            let range = Range {
                first: gathered.first.expected(),
                next: gathered.next,
                ingest_time,
                score_time,
                prev: self.source.head(gathered.partition),
                brings_context: !self.informed.contains(&gathered.partition),
            };
            let slice = rows.slice(part.rows.start, part.rows.len());
            let (messages, head) = self
                .writer
                .write(&slice, range, self.settings.value_bytes_max)
                .map_err(|RowTooLarge(row)| RowTooLarge(part.rows.start + row))?;
            testimonies.push(Testimony {
                partition: gathered.partition,
                first_row: part.rows.start,
                next: gathered.next,
                head,
                messages,
            });
        }
        Ok(testimonies)
    }

    /// The offsets that the transaction moves, each with its bookmark.
    fn offsets(&self, draft: &Draft) -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for testimony in &draft.evidence {
            let mut element = list.add_partition(&self.settings.topics.input, testimony.partition);
            element
                .set_offset(rdkafka::Offset::Offset(testimony.next.0))
                .map_err(|error| Fatal::new(Exit::Bug, "an offset that is none").because(error))?;
            element.set_metadata(
                self.source
                    .bookmark(testimony.next, testimony.head, &self.settings.edition)
                    .to_string(),
            );
        }
        Ok(list)
    }

    /// Everything that the transaction publishes.
    fn records<'a>(
        &'a self,
        parts: &'a [Gathered<'_>],
        batch: &Batch<Decided>,
        draft: &'a Draft,
    ) -> Vec<Outgoing<'a>> {
        let lineage = batch.lineage();
        let items: Vec<&Item<'_>> = parts.iter().flat_map(|part| &part.items).collect();
        let mut outgoing = Vec::with_capacity(items.len() + draft.evidence.len());
        let live = draft.ranges.iter().filter(|(row, _)| lineage.is_live(*row));
        outgoing.extend(live.map(|(row, range)| {
            let Item::Record(message) = items[*row] else {
                unreachable!("a live row is a record");
            };
            Outgoing {
                row: *row,
                topic: &self.settings.scored,
                partition: Some(message.partition()),
                key: message.key(),
                value: Some(&draft.scores[range.clone()]),
                headers: records::passed_on(
                    message.headers(),
                    &self.settings.headers,
                    self.settings.header_bytes_max,
                ),
            }
        }));
        for (row, item) in items.iter().enumerate() {
            if let (Some(rejection), Item::Record(message)) = (lineage.rejection(row), item) {
                outgoing.push(self.dead_letter(row, message, rejection));
            }
        }
        outgoing.extend(draft.evidence.iter().flat_map(Testimony::outgoing).map(
            |(row, partition, message)| Outgoing {
                row,
                topic: &self.settings.evidence,
                partition: Some(partition),
                key: None,
                value: Some(&message.value),
                headers: Some(self.settings.sealer.headers(partition, message)),
            },
        ));
        outgoing
    }

    /// The refused record, untouched; or, where it does not fit, a stub that says so.
    fn dead_letter<'a>(
        &'a self,
        row: usize,
        message: &'a rdkafka::message::BorrowedMessage<'_>,
        rejection: Rejection,
    ) -> Outgoing<'a> {
        let len = message.payload_len() + message.key_len();
        let left_out = (len > self.settings.value_bytes_max).then_some(message.payload_len());
        Outgoing {
            row,
            topic: &self.settings.dead_letter,
            partition: None,
            key: message.key().filter(|_| left_out.is_none()),
            value: message.payload().filter(|_| left_out.is_none()),
            headers: Some(records::dead_letter_headers(
                &self.settings.topics.input,
                &self.settings.group,
                message.partition(),
                Offset(message.offset()),
                rejection,
                left_out,
            )),
        }
    }
}

/// The context of evidence and the stamp of scores, which hold for a topic of one identity.
fn introduce(settings: &Settings, stages: &Stages, topic_id: &str) -> Result<(Writer, Stamp)> {
    let facts = Facts {
        input_topic_id: topic_id.to_owned(),
        ..settings.facts.clone()
    };
    let stamp = Stamp::new(
        &settings.topics.input,
        topic_id,
        (&facts.model_name, &facts.model_version, &facts.model_sha256),
        &facts.policy_version,
    );
    let columns = stages.evidence_columns(&settings.schema)?;
    Ok((Writer::new(Arc::new(Context::new(&columns, facts))), stamp))
}

fn lineage(parts: &[Gathered<'_>]) -> Lineage {
    let mut lineage = Lineage::default();
    for part in parts {
        let origins = part.items.iter().map(|item| match item {
            Item::Record(message) => Origin::Record {
                offset: Offset(message.offset()),
                broker_time: source::broker_time(message),
                leader_epoch: native::leader_epoch(message),
            },
            Item::Gap(gap) => Origin::Gap(*gap),
        });
        lineage.push_part(part.partition, origins);
    }
    lineage
}

/// The values in the order of the rows; a gap has none.
fn values<'a>(parts: &'a [Gathered<'_>]) -> Vec<Option<&'a [u8]>> {
    let items = parts.iter().flat_map(|part| &part.items);
    items
        .map(|item| match item {
            Item::Record(message) => message.payload(),
            Item::Gap(_) => None,
        })
        .collect()
}
