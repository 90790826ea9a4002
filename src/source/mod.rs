//! The input: gathers what has arrived into the rows of a round, and knows where each partition stands.
//!
//! Kafka is touched here, in `publish`, by the lane that holds both, in `topics`, in the archive's `collect`,
//! `board` and `operator`, and below the safe wrapper in `native`. This module never commits: offsets travel in the transaction that
//! publishes what was made of them. It never resets an offset, and never skips one that it cannot
//! explain (see [`track`] and [`bookmark`]). Rebalances are served between polls, on the lane's own
//! thread: the callback only notes them down.

mod assignment;
pub mod bookmark;
mod client;
pub mod track;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::Offset as At;
use rdkafka::consumer::{Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use tracing::warn;

use crate::crash;
use crate::error::{Fatal, Result};
use crate::native::{self, TopicIds};
use crate::package::Edition;
use crate::patience::{Patience, Tries};
use crate::record::{Digest, Gap, NextOffset, Offset};

use bookmark::{Bookmark, Refusal, Start};
use client::passes;
pub use client::{Consumer, close, connect, log_client};
use track::{Step, Track};

/// How long one call to the cluster may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A seek is refused while the client still prepares to fetch, which takes it milliseconds; so it is
/// tried again at once, as long as patience lasts.
const SEEK_PAUSE: Duration = Duration::from_millis(20);
/// How often the topics are looked at while nothing else asks: the client tells neither when the input is
/// created again, nor when a partition that was missing appears.
const TOPIC_CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// For how long after a partition was refused the client may still tell of an error in it.
const LEFTOVER_ERRORS: Duration = CALL_TIMEOUT;

/// Limits of one gather.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub rows_max: usize,
    pub bytes_max: usize,
    /// How long to wait for the first record.
    pub wait: Duration,
    /// How long after the last round to wait for more rows: a larger batch pays.
    pub linger: Duration,
}

/// One row of a round.
pub enum Item<'c> {
    Record(BorrowedMessage<'c>),
    Gap(Gap),
}

/// The rows of one partition, tiling the offsets from `first` to `next`.
pub struct Gathered<'c> {
    pub partition: i32,
    pub first: NextOffset,
    pub next: NextOffset,
    pub items: Vec<Item<'c>>,
}

/// What became of a gather.
pub enum Gather<'c> {
    Rows(Vec<Gathered<'c>>),
    Nothing,
}

/// A partition that this lane holds.
struct Held {
    track: Track,
    /// The end of what is committed: where a rewind goes.
    committed: NextOffset,
    head: Digest,
    accepted: Option<Gap>,
    /// The broker's time of the last record that was taken, µs since the epoch.
    newest: Option<i64>,
}

/// How far behind a partition is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    pub partition: i32,
    /// Offsets from the committed one to the end of the log, as the last fetch saw it. The markers of
    /// transactions are among them.
    pub rows: u64,
    /// Age of the last event that was taken; zero when none came after it.
    pub age: Duration,
}

/// What changed in the assignment, for metrics and readiness.
#[derive(Debug)]
pub enum Change {
    Assigned {
        held: usize,
    },
    Revoked {
        held: usize,
    },
    /// The group had given them to others before it was noticed here.
    Lost {
        held: usize,
    },
    Refused {
        partition: i32,
        refusal: Refusal,
    },
    Cleared {
        partition: i32,
    },
    /// Its last decision was this package's.
    Inherited {
        partition: i32,
        model: Edition,
    },
}

/// The topics that the input belongs with.
#[derive(Clone, Debug)]
pub struct Topics {
    pub input: String,
    /// Topics that must have a partition for each of the input's.
    pub twins: Vec<String>,
    pub ids: TopicIds,
}

/// Where each partition of the input stands.
pub struct Source<'c> {
    consumer: &'c Consumer,
    topics: Topics,
    patience: Patience,
    topic_id: String,
    /// When the topic's id was last asked for.
    checked: Instant,
    held: BTreeMap<i32, Held>,
    /// The last gather waited and found nothing.
    is_idle: bool,
    /// Partitions that are ours but wait for a partition of the twin beside them.
    without_twin: BTreeMap<i32, String>,
    /// How many partitions were refused that one more error each may come of, and when the last was.
    refused: (usize, Instant),
    changes: Vec<Change>,
}

impl<'c> Source<'c> {
    /// Joins the group.
    ///
    /// # Errors
    /// When the input topic cannot be described.
    pub fn subscribe(
        consumer: &'c Consumer,
        topics: Topics,
        patience: Patience,
    ) -> Result<Source<'c>> {
        let topic_id = topics
            .ids
            .of(consumer.client(), &topics.input, CALL_TIMEOUT)?;
        consumer
            .subscribe(&[&topics.input])
            .map_err(|e| Fatal::unreachable("subscribing to the input topic").because(e))?;
        Ok(Source {
            consumer,
            topics,
            patience,
            topic_id,
            checked: Instant::now(),
            held: BTreeMap::new(),
            is_idle: false,
            without_twin: BTreeMap::new(),
            refused: (0, Instant::now()),
            changes: Vec::new(),
        })
    }

    /// Who this lane is in its group, at the begin of a round: taken before its first poll, so that a
    /// commit of the round is fenced by every rebalance after it. None while it is nobody.
    pub fn member(&self) -> Option<ConsumerGroupMetadata> {
        // The safe wrapper hides the generation. Asked before and after, so that what is checked is
        // what was taken.
        let before = native::member(self.consumer)?;
        let taken = self.consumer.group_metadata()?;
        let after = native::member(self.consumer)?;
        (before == after && before.is_fenced_in()).then_some(taken)
    }

    /// Gathers what has arrived. `ended` is when the last round did: an event that comes long after it is
    /// not kept waiting, those of a steady flow wait for each other.
    ///
    /// # Errors
    /// When the client fails for good, or the cluster does not answer.
    pub fn gather(&mut self, limits: &Limits, ended: Instant) -> Result<Gather<'c>> {
        let mut parts: BTreeMap<i32, Gathered<'c>> = BTreeMap::new();
        let (mut rows, mut bytes) = (0, 0);
        if self.checked.elapsed() > TOPIC_CHECK_INTERVAL && self.look_again()? {
            return Ok(Gather::Nothing);
        }
        let mut deadline = Instant::now() + limits.wait;
        while rows < limits.rows_max && bytes < limits.bytes_max {
            let wait = deadline.saturating_duration_since(Instant::now());
            let polled = self.consumer.poll(wait);
            if self.serve()? {
                // Rows of partitions that left must not be scored, and the member's name in this
                // round is old: the round is over.
                self.rewind(parts.keys().copied())?;
                return Ok(Gather::Nothing);
            }
            if self.consumer.context().take_disturbance() {
                self.held
                    .values_mut()
                    .for_each(|held| held.track.on_disturbance());
            }
            match polled {
                None if wait.is_zero() => break,
                None if rows == 0 && Instant::now() >= deadline => break,
                None => {}
                Some(Err(error)) => self.on_error(&error)?,
                Some(Ok(message)) => {
                    let len = message.payload_len();
                    let taken = self.take(message, &mut parts)?;
                    if rows == 0 && taken > 0 {
                        crash::point("lane.after-first-poll");
                        deadline = ended + limits.linger;
                    }
                    rows += taken;
                    bytes += len;
                }
            }
        }
        // What was refused on the way is not held any more.
        parts.retain(|partition, _| self.held.contains_key(partition));
        self.is_idle = rows == 0;
        if parts.is_empty() {
            return Ok(Gather::Nothing);
        }
        Ok(Gather::Rows(parts.into_values().collect()))
    }

    /// Takes a record into its part. Returns how many rows that made.
    fn take(
        &mut self,
        message: BorrowedMessage<'c>,
        parts: &mut BTreeMap<i32, Gathered<'c>>,
    ) -> Result<usize> {
        let partition = message.partition();
        let Some(held) = self.held.get_mut(&partition) else {
            return Ok(0);
        };
        match held.track.on_record(Offset(message.offset())) {
            Step::Take { gap } => {
                let next = held.track.expected();
                let part = parts.entry(partition).or_insert_with(|| Gathered {
                    partition,
                    first: held.committed,
                    next,
                    items: Vec::new(),
                });
                let before = part.items.len();
                if part.items.is_empty() {
                    part.items.extend(held.accepted.map(Item::Gap));
                }
                part.items.extend(gap.map(Item::Gap));
                held.newest = broker_time(&message);
                part.items.push(Item::Record(message));
                part.next = next;
                Ok(part.items.len() - before)
            }
            Step::SeekAgain => {
                let target = held.track.expected();
                self.seek(&[(partition, target)], &mut self.patience.start())?;
                Ok(0)
            }
            Step::Drop => Ok(0),
            Step::Refuse(disorder) => {
                // What was gathered before the disorder is sound, but the round is not worth it.
                parts.remove(&partition);
                self.refuse(partition, Refusal::Disorder(disorder))?;
                Ok(0)
            }
        }
    }

    /// The rows of these partitions are committed up to the given ends.
    pub fn on_committed(&mut self, ends: impl IntoIterator<Item = (i32, NextOffset, Digest)>) {
        for (partition, next, head) in ends {
            if let Some(held) = self.held.get_mut(&partition) {
                *held = Held {
                    track: held.track.clone(),
                    committed: next,
                    head,
                    accepted: None,
                    newest: held.newest,
                };
            }
        }
    }

    /// Goes back to the end of what is committed: the rows since are gathered again.
    ///
    /// # Errors
    /// When a seek fails for good.
    pub fn rewind(&mut self, partitions: impl IntoIterator<Item = i32>) -> Result<()> {
        let targets: Vec<(i32, NextOffset)> = partitions
            .into_iter()
            .filter_map(|partition| Some((partition, self.held.get(&partition)?.begin())))
            .collect();
        if crash::planted("rewind-without-seek") {
            for (partition, _) in &targets {
                let held = self.held.get_mut(partition).expect("it was held above");
                held.committed = held.track.expected();
            }
            return Ok(());
        }
        self.seek(&targets, &mut self.patience.start())
    }

    /// Asks the cluster what is committed for every partition that is held and goes on from there:
    /// the outcome of a transaction was unknown, and is final now.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn resolve(&mut self, tries: &mut Tries) -> Result<()> {
        let partitions: Vec<i32> = self.held.keys().copied().collect();
        let mut targets = Vec::new();
        for (partition, start) in self.starts(&partitions, tries)? {
            match start {
                Ok(start) => {
                    targets.push((partition, start.next));
                    self.held.insert(partition, Held::new(start));
                }
                Err(refusal) => self.refuse(partition, refusal)?,
            }
        }
        self.seek(&targets, tries)
    }

    /// The head of a partition's evidence chain.
    ///
    /// # Panics
    /// When the partition is not held.
    #[must_use]
    pub fn head(&self, partition: i32) -> Digest {
        self.held[&partition].head
    }

    /// What a commit of a partition up to `next` says beside the offset, where `model` has decided.
    #[must_use]
    pub fn bookmark(&self, next: NextOffset, head: Digest, model: &Edition) -> Bookmark {
        Bookmark {
            topic_id: self.topic_id.clone(),
            next,
            head,
            model: Some(model.clone()),
        }
    }

    #[must_use]
    pub fn topic_id(&self) -> &str {
        &self.topic_id
    }

    /// How far behind each partition is that is held, as far as the client knows without asking.
    #[must_use]
    pub fn standings(&self, now: i64) -> Vec<Standing> {
        let standing = |(&partition, held): (&i32, &Held)| {
            let end = native::end_offset(self.consumer, &self.topics.input, partition);
            let rows = end.map_or(0, |end| end.saturating_sub(held.committed.0).max(0));
            let age = held
                .newest
                .map_or(0, |newest| now.saturating_sub(newest).max(0));
            let is_late = rows > 0 && !self.is_idle;
            Standing {
                partition,
                rows: rows.unsigned_abs(),
                age: Duration::from_micros(if is_late { age.unsigned_abs() } else { 0 }),
            }
        };
        self.held.iter().map(standing).collect()
    }

    /// What changed since the last call.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// The partitions that are held, and the end of what is committed in each.
    #[must_use]
    pub fn held(&self) -> Vec<(i32, NextOffset)> {
        self.held
            .iter()
            .map(|(partition, held)| (*partition, held.committed))
            .collect()
    }

    fn seek(&mut self, targets: &[(i32, NextOffset)], tries: &mut Tries) -> Result<()> {
        for &(partition, target) in targets {
            while let Err(error) = self.consumer.seek(
                &self.topics.input,
                partition,
                At::Offset(target.0),
                tries.call(CALL_TIMEOUT),
            ) {
                if !tries.again_after(SEEK_PAUSE) {
                    let what = format!("seeking partition {partition} to {target}");
                    return Err(Fatal::unreachable(what).because(error));
                }
            }
            if let Some(held) = self.held.get_mut(&partition) {
                held.track.on_seek(target);
            }
        }
        Ok(())
    }

    /// An error that a poll returned.
    fn on_error(&mut self, error: &KafkaError) -> Result<()> {
        self.held
            .values_mut()
            .for_each(|held| held.track.on_disturbance());
        let code = error.rdkafka_error_code();
        if let KafkaError::MessageConsumptionFatal(code) = error {
            let message = match code {
                RDKafkaErrorCode::FencedInstanceId => {
                    "another live process uses this `pipeline.instance`; give each its own".into()
                }
                code => format!("the consumer failed for good: {code}"),
            };
            return Err(Fatal::unreachable(message));
        }
        match code {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                self.refuse_out_of_range()
            }
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopicId) => {
                self.check_topic(&mut self.patience.start()).map(|_| ())
            }
            Some(code) if passes(code) => {
                warn!(%code, "consumer");
                Ok(())
            }
            _ => Err(Fatal::unreachable("reading the input topic").because(error.clone())),
        }
    }
}

/// The time that the broker keeps beside a record, µs since the epoch.
#[must_use]
pub fn broker_time(message: &BorrowedMessage<'_>) -> Option<i64> {
    message.timestamp().to_millis().map(|millis| millis * 1000)
}

impl Held {
    fn new(start: Start) -> Held {
        let committed = start
            .accepted
            .map_or(start.next, |gap| NextOffset(gap.first.0));
        Held {
            track: Track::sought(start.next),
            committed,
            head: start.head,
            accepted: start.accepted,
            newest: None,
        }
    }

    /// The first offset that is not committed and that the log may hold.
    fn begin(&self) -> NextOffset {
        self.accepted.map_or(self.committed, |gap| gap.next)
    }
}
