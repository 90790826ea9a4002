//! Which partitions are held, and which are refused: what rebalances, operators and re-created topics
//! do to the assignment.

use std::time::Instant;

use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset as At, TopicPartitionList};
use tracing::{info, warn};

use super::bookmark::{self, Refusal, Start};
use super::client::{Rebalance, persist};
use super::{CALL_TIMEOUT, Change, Held, LEFTOVER_ERRORS, Source};
use crate::error::{Exit, Fatal, Result};
use crate::patience::Tries;
use crate::record::NextOffset;

impl Source<'_> {
    /// Asks what nobody tells: whether the input is still the same topic, and whether the twins of
    /// partitions that wait for them are there now. Returns whether something changed.
    pub(super) fn look_again(&mut self) -> Result<bool> {
        let mut tries = self.patience.start();
        if !self.check_topic(&mut tries)? {
            return Ok(true);
        }
        if self.without_twin.is_empty() {
            return Ok(false);
        }
        let counts = self.twins(&mut tries)?;
        let has_come = |(partition, lacking): &(&i32, &String)| {
            counts
                .iter()
                .any(|(topic, count)| topic == *lacking && *partition < count)
        };
        let ready = self.without_twin.iter().filter(has_come);
        let ready: Vec<i32> = ready.map(|(partition, _)| *partition).collect();
        if ready.is_empty() {
            return Ok(false);
        }
        self.assign(&ready, &mut tries)?;
        Ok(true)
    }

    /// Acts on what the callback noted. Returns whether there was something.
    pub(super) fn serve(&mut self) -> Result<bool> {
        let rebalances = self.consumer.context().take_rebalances();
        if rebalances.is_empty() {
            self.consumer.context().is_answered();
            return Ok(false);
        }
        let mut tries = self.patience.start();
        for rebalance in &rebalances {
            match rebalance {
                Rebalance::Assigned(partitions) => self.assign(partitions, &mut tries)?,
                Rebalance::Revoked(partitions) => {
                    let held = self.unassign(partitions)?;
                    self.changes.push(Change::Revoked { held });
                }
                Rebalance::Lost(partitions) => {
                    warn!(
                        ?partitions,
                        "the group took partitions away: this lane was silent for too long"
                    );
                    let held = self.unassign(partitions)?;
                    self.changes.push(Change::Lost { held });
                }
            }
        }
        self.consumer.context().is_answered();
        Ok(true)
    }

    fn assign(&mut self, partitions: &[i32], tries: &mut Tries) -> Result<()> {
        self.check_topic(tries)?;
        let mut list = TopicPartitionList::new();
        for (partition, start) in self.starts(partitions, tries)? {
            match start {
                Ok(mut start) => {
                    list.add_partition_offset(
                        &self.topics.input,
                        partition,
                        At::Offset(start.next.0),
                    )
                    .map_err(|e| Fatal::new(Exit::Bug, "placing a partition").because(e))?;
                    if let Some(model) = start.model.take() {
                        self.changes.push(Change::Inherited { partition, model });
                    }
                    self.held.insert(partition, Held::new(start));
                    self.without_twin.remove(&partition);
                    self.changes.push(Change::Cleared { partition });
                }
                Err(refusal) => self.note_refusal(partition, refusal),
            }
        }
        // Also when the list is empty: the group waits for the answer.
        self.consumer
            .incremental_assign(&list)
            .map_err(|e| Fatal::unreachable("taking over partitions").because(e))?;
        info!(partitions = ?partitions, held = self.held.len(), "assigned");
        self.changes.push(Change::Assigned {
            held: self.held.len(),
        });
        Ok(())
    }

    /// Returns how many are still held.
    fn unassign(&mut self, partitions: &[i32]) -> Result<usize> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            self.without_twin.remove(partition);
            self.changes.push(Change::Cleared {
                partition: *partition,
            });
            if self.held.remove(partition).is_some() {
                list.add_partition(&self.topics.input, *partition);
            }
        }
        self.consumer
            .incremental_unassign(&list)
            .map_err(|e| Fatal::unreachable("giving partitions back").because(e))?;
        info!(partitions = ?partitions, held = self.held.len(), "revoked");
        Ok(self.held.len())
    }

    /// Stops fetching a partition that cannot be scored.
    pub(super) fn refuse(&mut self, partition: i32, refusal: Refusal) -> Result<()> {
        let held = self.unassign(&[partition])?;
        self.changes.push(Change::Revoked { held });
        self.note_refusal(partition, refusal);
        Ok(())
    }

    /// Tells of a refusal, and remembers a partition that only waits for its twin.
    fn note_refusal(&mut self, partition: i32, refusal: Refusal) {
        warn!(partition, %refusal, "partition refused");
        match &refusal {
            Refusal::NoTwin { topic, .. } => self.without_twin.insert(partition, topic.clone()),
            _ => self.without_twin.remove(&partition),
        };
        self.changes.push(Change::Refused { partition, refusal });
    }

    /// Where scoring of each partition begins, by its committed offset and its twins.
    pub(super) fn starts(
        &self,
        partitions: &[i32],
        tries: &mut Tries,
    ) -> Result<Vec<(i32, Result<Start, Refusal>)>> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topics.input, *partition);
        }
        let committed = persist(tries, "asking for committed offsets", |timeout| {
            self.consumer.committed_offsets(list.clone(), timeout)
        })?;
        let twins = self.twins(tries)?;
        let start = |partition: i32| {
            if let Some((topic, count)) = twins.iter().find(|(_, count)| partition >= *count) {
                return Err(Refusal::NoTwin {
                    topic: topic.clone(),
                    partitions: *count,
                });
            }
            let element = committed.find_partition(&self.topics.input, partition);
            let element = element.ok_or(Refusal::NoCommit)?;
            let offset = match element.offset() {
                At::Offset(offset) => Some(NextOffset(offset)),
                _ => None,
            };
            bookmark::judge(offset, element.metadata(), &self.topic_id)
        };
        Ok(partitions
            .iter()
            .map(|&partition| (partition, start(partition)))
            .collect())
    }

    /// The topics that must have a partition for each of the input's, and how many they have.
    fn twins(&self, tries: &mut Tries) -> Result<Vec<(String, i32)>> {
        let counted = |topic: &String| Ok((topic.clone(), self.partition_count(topic, tries)?));
        self.topics.twins.iter().map(counted).collect()
    }

    fn partition_count(&self, topic: &str, tries: &mut Tries) -> Result<i32> {
        let count = persist(tries, "asking for a topic's partitions", |timeout| {
            let metadata = self.consumer.fetch_metadata(Some(topic), timeout)?;
            let answer = metadata.topics().first();
            match answer
                .and_then(|topic| topic.error())
                .map(RDKafkaErrorCode::from)
            {
                // That there is none is an answer; any other error is the lack of one.
                None | Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
                    Ok(answer.map_or(0, |topic| topic.partitions().len()))
                }
                Some(code) => Err(KafkaError::MetadataFetch(code)),
            }
        })?;
        Ok(i32::try_from(count).unwrap_or(i32::MAX))
    }

    /// Whether the input is still the topic that it was. One that was deleted and created again has other
    /// records under the same offsets, so everything that is held of it is refused.
    pub(super) fn check_topic(&mut self, tries: &mut Tries) -> Result<bool> {
        self.checked = Instant::now();
        let (ids, topic) = (self.topics.ids, self.topics.input.clone());
        let is = loop {
            match ids.of(self.consumer.client(), &topic, tries.call(CALL_TIMEOUT)) {
                Ok(id) => break id,
                Err(fatal) if !tries.again() => return Err(fatal),
                Err(_) => {}
            }
        };
        if is == self.topic_id {
            return Ok(true);
        }
        let was = std::mem::replace(&mut self.topic_id, is.clone());
        self.refused = (self.held.len(), Instant::now());
        for partition in self.held.keys().copied().collect::<Vec<_>>() {
            let refusal = Refusal::OtherTopic {
                was: was.clone(),
                is: is.clone(),
            };
            self.refuse(partition, refusal)?;
        }
        Ok(false)
    }

    /// Some partition's offset is not in its log. The error does not say which.
    pub(super) fn refuse_out_of_range(&mut self) -> Result<()> {
        let mut tries = self.patience.start();
        if !self.check_topic(&mut tries)? {
            return Ok(());
        }
        let before = self.held.len();
        for (partition, _) in self.held() {
            let (low, high) = persist(&mut tries, "asking for the log's range", |timeout| {
                self.consumer
                    .fetch_watermarks(&self.topics.input, partition, timeout)
            })?;
            let expected = self.held[&partition].track.expected();
            if expected.0 < low || expected.0 > high {
                self.refuse(
                    partition,
                    Refusal::OutOfRange {
                        expected,
                        low,
                        high,
                    },
                )?;
            }
        }
        let refused = before - self.held.len();
        if refused > 0 {
            // This error was of one of them; each of the others may still send its own.
            self.refused = (refused - 1, Instant::now());
            return Ok(());
        }
        if self.is_leftover() {
            return Ok(());
        }
        // The client has stopped fetching some partition whose log has grown past the offset since.
        Err(Fatal::integrity(format!(
            "the log of `{}` ended before an offset that was read already, and has grown since: it was \
             cut, as by an unclean leader election; find out what was lost before you start again",
            self.topics.input
        )))
    }

    /// Whether an error that fits no partition that is held is of one that was refused just before.
    fn is_leftover(&mut self) -> bool {
        let (partitions, last) = self.refused;
        let is_leftover = partitions > 0 && last.elapsed() < LEFTOVER_ERRORS;
        let left = if is_leftover { partitions - 1 } else { 0 };
        self.refused = (left, last);
        is_leftover
    }
}
