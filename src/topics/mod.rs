//! The topics of a pipeline: creating them, checking them, and the first offsets, which are an act and
//! never a default.
//!
//! Blocks; called before lanes start or from the command line, never by a lane.

pub mod rules;

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset as At};

use crate::config::{Config, refused_client};
use crate::error::{Exit, Fatal, Result};
use crate::evidence::{self, Header, Reader};
use crate::native::TopicIds;
use crate::package::Edition;
use crate::record::{Digest, NextOffset};
use crate::source::bookmark::{self, Bookmark};
use crate::words::counted;

use rules::{Cluster, Description, Finding};

const TIMEOUT: Duration = Duration::from_secs(15);

/// Of topics that must lose nothing by themselves.
const FOR_EVER: [(&str, &str); 2] = [("retention.ms", "-1"), ("retention.bytes", "-1")];

/// Where the first round of a partition begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum From {
    Earliest,
    Latest,
    At(NextOffset),
    /// Where the evidence ends: nothing is skipped.
    Evidence,
}

/// Who this pipeline is in its cluster.
#[derive(Clone, Debug)]
pub struct Identity {
    pub cluster_id: String,
    pub input_topic_id: String,
    pub evidence_topic_id: String,
}

/// Talks to the cluster about topics.
pub struct Topics<'a> {
    config: &'a Config,
    ids: TopicIds,
    /// Of the scoring group, but never a member of it.
    consumer: BaseConsumer,
}

impl<'a> Topics<'a> {
    /// # Errors
    /// When no broker answers.
    pub fn connect(config: &'a Config, ids: TopicIds) -> Result<Topics<'a>> {
        let mut client = config.client();
        client
            .set("group.id", config.group())
            .set("enable.auto.commit", "false");
        client
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true");
        client
            .set("allow.auto.create.topics", "false")
            .set("auto.offset.reset", "error");
        let consumer: BaseConsumer = client
            .create()
            .map_err(|error| refused_client(&client, error))?;
        consumer.fetch_metadata(None, TIMEOUT).map_err(|error| {
            let brokers = client.get("bootstrap.servers").unwrap_or_default();
            Fatal::unreachable(format!(
                "no broker answers at {brokers} (kafka.bootstrap.servers); is Kafka running, and are \
                 the security properties right?"
            ))
            .because(error)
        })?;
        Ok(Topics {
            config,
            ids,
            consumer,
        })
    }

    /// # Errors
    /// When a topic does not exist or the cluster does not answer.
    pub fn identity(&self) -> Result<Identity> {
        let client = self.consumer.client();
        let cluster_id = client
            .fetch_cluster_id(TIMEOUT)
            .ok_or_else(|| Fatal::unreachable("the cluster does not tell its id"))?;
        let id = |topic: &str| self.ids.of(client, topic, TIMEOUT);
        Ok(Identity {
            cluster_id,
            input_topic_id: id(&self.config.input.topic)?,
            evidence_topic_id: id(&self.config.output.evidence)?,
        })
    }

    /// Looks at topics and committed offsets.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn check(&self) -> Result<Vec<Finding>> {
        let output = &self.config.output;
        let describe = |topic: &'a str| -> Result<_> { Ok((topic, self.describe(topic)?)) };
        let mut internal = Vec::new();
        for topic in ["__consumer_offsets", "__transaction_state"] {
            // The brokers make them when they are first needed.
            internal.extend(
                self.describe(topic)?
                    .map(|description| (topic, description)),
            );
        }
        let cluster = Cluster {
            input: describe(&self.config.input.topic)?,
            scored: describe(&output.scored)?,
            evidence: describe(&output.evidence)?,
            dead_letter: describe(&output.dead_letter)?,
            checkpoints: describe(&output.checkpoints)?,
            internal,
            message_bytes_max: output.message_bytes_max,
            allow_single_replica: output.allow_single_replica,
        };
        let mut findings = rules::judge(&cluster);
        if let Some(input) = &cluster.input.1 {
            findings.extend(self.check_offsets(input.partitions)?);
        }
        Ok(findings)
    }

    fn check_offsets(&self, partitions: i32) -> Result<Vec<Finding>> {
        let topic = &self.config.input.topic;
        let topic_id = self.ids.of(self.consumer.client(), topic, TIMEOUT)?;
        let committed = self.committed(partitions)?;
        let judged = committed.iter().map(|(partition, offset, metadata)| {
            (partition, bookmark::judge(*offset, metadata, &topic_id))
        });
        let mut findings = Vec::new();
        let mut well = 0;
        for (partition, judgement) in judged {
            match judgement {
                Ok(_) => well += 1,
                Err(refusal) => findings.push(Finding {
                    what: format!("{topic} partition {partition}: committed offset"),
                    fix: Some(refusal.to_string()),
                }),
            }
        }
        let what = format!("{topic}: offsets of {well} of {partitions} partitions are known");
        findings.insert(0, Finding { what, fix: None });
        Ok(findings)
    }

    /// The packages that decided last, one for each partition that tells.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn editions(&self) -> Result<Vec<Edition>> {
        let input = self.describe(&self.config.input.topic)?;
        Ok(match input {
            Some(input) => self.decided(input.partitions)?.into_values().collect(),
            None => Vec::new(),
        })
    }

    /// The package that decided last, by partition.
    fn decided(&self, partitions: i32) -> Result<BTreeMap<i32, Edition>> {
        let committed = self.committed(partitions)?.into_iter();
        let edition = |(partition, _, metadata): (i32, _, String)| {
            Some((partition, Bookmark::parse(&metadata)?.model?))
        };
        Ok(committed.filter_map(edition).collect())
    }

    /// Creates what is missing of the pipeline's own topics, and the input as well if `partitions`
    /// says how many it shall have; then commits first offsets where there are none. Returns what was
    /// done, a sentence each.
    ///
    /// # Errors
    /// When the cluster refuses, or a partition without an offset has evidence already.
    pub fn create(
        &self,
        partitions: Option<i32>,
        replicas: i32,
        start: From,
    ) -> Result<Vec<String>> {
        let mut done = Vec::new();
        let input = &self.config.input.topic;
        let count = match (self.describe(input)?, partitions) {
            (Some(description), _) => description.partitions,
            (None, Some(count)) => {
                self.create_topic(input, count, replicas, &[])?;
                done.push(format!(
                    "created topic {input} with {}",
                    counted(count, "partition")
                ));
                count
            }
            (None, None) => {
                return Err(Fatal::usage(format!(
                    "topic `{input}` does not exist; create it, or say --partitions N"
                )));
            }
        };
        let output = &self.config.output;
        for (topic, count, settings) in [
            (&output.scored, count, &[][..]),
            (&output.evidence, count, &FOR_EVER),
            (&output.dead_letter, count, &[]),
            (&output.checkpoints, 1, &FOR_EVER),
        ] {
            if self.describe(topic)?.is_none() {
                self.create_topic(topic, count, replicas, settings)?;
                done.push(format!(
                    "created topic {topic} with {}",
                    counted(count, "partition")
                ));
            }
        }
        done.extend(self.begin(count, start)?);
        Ok(done)
    }

    fn create_topic(
        &self,
        topic: &str,
        partitions: i32,
        replicas: i32,
        settings: &[(&str, &str)],
    ) -> Result<()> {
        let limit = self.config.output.message_bytes_max.to_string();
        let in_sync = if replicas >= 2 { "2" } else { "1" };
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(replicas))
            .set("max.message.bytes", &limit)
            .set("min.insync.replicas", in_sync)
            .set("unclean.leader.election.enable", "false")
            .set("cleanup.policy", "delete");
        for (key, value) in settings {
            new = new.set(key, value);
        }
        let admin = self.admin()?;
        let results = wait(admin.create_topics([&new], &AdminOptions::new()));
        let fault = |cause: String| Fatal::unreachable(format!("creating `{topic}`: {cause}"));
        match results.map_err(|error| fault(error.to_string()))?.pop() {
            Some(Err((_, code))) if code != RDKafkaErrorCode::TopicAlreadyExists => {
                Err(fault(code.to_string()))
            }
            _ => self.await_leaders(topic, partitions),
        }
    }

    /// A topic that was just created has no leaders for a moment.
    fn await_leaders(&self, topic: &str, partitions: i32) -> Result<()> {
        for _ in 0..100 {
            let metadata = self.metadata(topic)?;
            let found = metadata.topics().first().map_or(0, |t| {
                t.partitions().iter().filter(|p| p.leader() >= 0).count()
            });
            if i32::try_from(found) == Ok(partitions) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err(Fatal::unreachable(format!(
            "`{topic}` was created, but got no leaders"
        )))
    }

    /// Commits first offsets for partitions that have none.
    ///
    /// # Errors
    /// As [`Topics::create`].
    pub fn begin(&self, partitions: i32, start: From) -> Result<Vec<String>> {
        let topic = &self.config.input.topic;
        let mut list = TopicPartitionList::new();
        for (partition, offset, _) in self.committed(partitions)? {
            if offset.is_some() {
                continue;
            }
            if self.last_evidence(partition)?.is_some() {
                return Err(Fatal::usage(format!(
                    "partition {partition} of `{topic}` has no committed offset, but there is evidence \
                     of it: say where to go on with `probity topics accept --partition {partition}`"
                )));
            }
            let next = self.resolve(partition, start, None)?;
            self.add(&mut list, partition, next, next, Digest::ZERO, None)?;
        }
        if list.count() == 0 {
            return Ok(Vec::new());
        }
        self.commit(&list)?;
        Ok(describe_offsets("first offset of", &list))
    }

    /// The operator's word for partitions that are refused: scoring goes on at `from`, and what lies
    /// between the evidence and there becomes a gap. Never goes back behind the evidence.
    ///
    /// # Errors
    /// When the group is running, or `from` lies behind the evidence.
    pub fn accept(&self, partitions: &[i32], from: From) -> Result<Vec<String>> {
        let topic_id = self
            .ids
            .of(self.consumer.client(), &self.config.input.topic, TIMEOUT)?;
        let mut list = TopicPartitionList::new();
        let highest = partitions.iter().max().copied().unwrap_or_default();
        let mut decided = self.decided(highest + 1)?;
        for &partition in partitions {
            let last = self.last_evidence(partition)?;
            let head = last.as_ref().map_or(Digest::ZERO, |last| last.head);
            // Evidence of a topic that was deleted says nothing of offsets in the new one.
            let covered = last
                .filter(|last| last.topic_id == topic_id)
                .map(|last| last.next);
            let offset = self.resolve(partition, from, covered)?;
            if let Some(covered) = covered
                && offset < covered
            {
                return Err(Fatal::usage(format!(
                    "partition {partition}: offset {offset} lies behind the evidence, which ends at \
                     {covered}; no event is scored twice"
                )));
            }
            self.add(
                &mut list,
                partition,
                offset,
                covered.unwrap_or(offset),
                head,
                decided.remove(&partition),
            )?;
        }
        self.commit(&list)?;
        Ok(describe_offsets("accepted:", &list))
    }

    fn resolve(
        &self,
        partition: i32,
        from: From,
        covered: Option<NextOffset>,
    ) -> Result<NextOffset> {
        let topic = &self.config.input.topic;
        let (low, high) = self
            .consumer
            .fetch_watermarks(topic, partition, TIMEOUT)
            .map_err(|e| {
                Fatal::unreachable(format!("asking for the log of `{topic}`")).because(e)
            })?;
        match from {
            From::Earliest => Ok(NextOffset(
                covered.map_or(low, |covered| low.max(covered.0)),
            )),
            From::Latest => Ok(NextOffset(high)),
            From::At(offset) if (low..=high).contains(&offset.0) => Ok(offset),
            From::At(offset) => Err(Fatal::usage(format!(
                "partition {partition} holds offsets {low} to {high}, not {offset}"
            ))),
            From::Evidence => match covered {
                Some(next) if (low..=high).contains(&next.0) => Ok(next),
                Some(next) => Err(Fatal::usage(format!(
                    "partition {partition}: the evidence ends at {next}, but the log holds {low} to \
                     {high}; say --from earliest, latest or an offset"
                ))),
                None => Err(Fatal::usage(format!(
                    "partition {partition} has no evidence; say --from earliest, latest or an offset"
                ))),
            },
        }
    }

    fn add(
        &self,
        list: &mut TopicPartitionList,
        partition: i32,
        offset: NextOffset,
        next: NextOffset,
        head: Digest,
        model: Option<Edition>,
    ) -> Result<()> {
        let topic = &self.config.input.topic;
        let topic_id = self.ids.of(self.consumer.client(), topic, TIMEOUT)?;
        let mut element = list.add_partition(topic, partition);
        element
            .set_offset(At::Offset(offset.0))
            .map_err(|e| Fatal::new(Exit::Bug, "an offset that is none").because(e))?;
        element.set_metadata(
            Bookmark {
                topic_id,
                next,
                head,
                model,
            }
            .to_string(),
        );
        Ok(())
    }

    fn commit(&self, list: &TopicPartitionList) -> Result<()> {
        self.consumer.commit(list, CommitMode::Sync).map_err(|error| {
            let group = self.config.group();
            Fatal::unreachable(format!(
                "committing offsets of group `{group}`: is it running? stop every process of it, and \
                 wait for limits.session_timeout: until then the brokers keep their places"
            ))
            .because(error)
        })
    }

    /// For each partition its committed offset and what is written beside it.
    fn committed(&self, partitions: i32) -> Result<Vec<(i32, Option<NextOffset>, String)>> {
        let topic = &self.config.input.topic;
        let mut list = TopicPartitionList::new();
        list.add_partition_range(topic, 0, partitions - 1);
        let committed = self
            .consumer
            .committed_offsets(list, TIMEOUT)
            .map_err(|e| Fatal::unreachable("asking for committed offsets").because(e))?;
        let read = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
            let offset = match element.offset() {
                At::Offset(offset) => Some(NextOffset(offset)),
                _ => None,
            };
            (element.partition(), offset, element.metadata().to_owned())
        };
        Ok(committed.elements().iter().map(read).collect())
    }

    /// The newest evidence of a partition, if there is any: looks back from the end, further and
    /// further, until it finds a message and the context that it names.
    fn last_evidence(&self, partition: i32) -> Result<Option<LastEvidence>> {
        let topic = &self.config.output.evidence;
        let fault = |e: KafkaError| Fatal::unreachable(format!("reading `{topic}`")).because(e);
        let (low, high) = self
            .consumer
            .fetch_watermarks(topic, partition, TIMEOUT)
            .map_err(fault)?;
        let mut back = 16;
        loop {
            let from = (high - back).max(low);
            let newest = self.newest_since(topic, partition, from)?;
            match newest {
                Some((header, head, Some(topic_id))) => {
                    return Ok(Some(LastEvidence {
                        topic_id,
                        next: header.next,
                        head,
                    }));
                }
                Some(_) if from == low => {
                    return Err(Fatal::integrity(format!(
                        "partition {partition} of `{topic}` holds evidence, but not the context that it \
                         names: records were deleted from it"
                    )));
                }
                None if from == low => return Ok(None),
                Some(_) | None => {}
            }
            back *= 16;
        }
    }

    /// The newest message from a position on, its head, and the topic id of its context if that was met.
    fn newest_since(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
    ) -> Result<Option<(Header, Digest, Option<String>)>> {
        let fault = |e: KafkaError| Fatal::unreachable(format!("reading `{topic}`")).because(e);
        let foreign = |e| Fatal::integrity(format!("reading `{topic}`")).because(e);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, At::Offset(from))
            .map_err(fault)?;
        self.consumer.assign(&list).map_err(fault)?;
        let mut reader = Reader::default();
        let mut newest: Option<(Header, Digest)> = None;
        let mut topic_ids: BTreeMap<Digest, String> = BTreeMap::new();
        loop {
            let message = match self.consumer.poll(TIMEOUT) {
                Some(Ok(message)) => message,
                Some(Err(KafkaError::PartitionEOF(_))) => break,
                Some(Err(error)) => return Err(fault(error)),
                None => return Err(Fatal::unreachable(format!("reading `{topic}`: no answer"))),
            };
            let headers = message.headers();
            let bytes = headers.and_then(|h| h.iter().find(|h| h.key == Header::NAME)?.value);
            let bytes = bytes.unwrap_or_default();
            let value = message.payload().unwrap_or_default();
            let header = Header::parse(bytes).map_err(foreign)?;
            if let Some(context) = reader.context_of(&header, value).map_err(foreign)? {
                topic_ids.insert(context.digest(), context.facts().input_topic_id.clone());
            }
            newest = Some((header, evidence::head(bytes, value)));
        }
        self.consumer.unassign().map_err(fault)?;
        Ok(newest.map(|(header, head)| {
            let topic_id = topic_ids.get(&header.context).cloned();
            (header, head, topic_id)
        }))
    }

    fn metadata(&self, topic: &str) -> Result<rdkafka::metadata::Metadata> {
        self.consumer
            .fetch_metadata(Some(topic), TIMEOUT)
            .map_err(|e| Fatal::unreachable(format!("asking for `{topic}`")).because(e))
    }

    fn describe(&self, topic: &str) -> Result<Option<Description>> {
        let metadata = self.metadata(topic)?;
        let found = metadata
            .topics()
            .iter()
            .find(|t| t.name() == topic && t.error().is_none());
        let Some(found) = found.filter(|topic| !topic.partitions().is_empty()) else {
            return Ok(None);
        };
        let replicas = found
            .partitions()
            .iter()
            .map(|p| p.replicas().len())
            .min()
            .unwrap_or(0);
        let partitions = i32::try_from(found.partitions().len()).unwrap_or(i32::MAX);
        let resource = [ResourceSpecifier::Topic(topic)];
        let admin = self.admin()?;
        let answer = wait(admin.describe_configs(&resource, &AdminOptions::new()))
            .map_err(|e| Fatal::unreachable(format!("asking for `{topic}`")).because(e))?
            .pop();
        let config = match answer {
            Some(Ok(resource)) => resource.entries,
            Some(Err(code)) => {
                let what = format!("asking for the settings of `{topic}`: {code}");
                return Err(Fatal::unreachable(what));
            }
            None => Vec::new(),
        };
        let config = config
            .into_iter()
            .filter_map(|e| Some((e.name, e.value?)))
            .collect();
        Ok(Some(Description {
            partitions,
            replicas,
            config,
        }))
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>> {
        let mut client: ClientConfig = self.config.client();
        client.set_log_level(rdkafka::config::RDKafkaLogLevel::Error);
        client
            .create()
            .map_err(|e| Fatal::usage("creating an admin client").because(e))
    }
}

/// The end of a partition's evidence.
struct LastEvidence {
    topic_id: String,
    next: NextOffset,
    head: Digest,
}

fn describe_offsets(verb: &str, list: &TopicPartitionList) -> Vec<String> {
    let sentence = |e: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
        let offset = e.offset().to_raw().unwrap_or_default();
        format!("{verb} partition {} is {offset}", e.partition())
    };
    list.elements().iter().map(sentence).collect()
}

/// Waits for an answer to an admin request on this thread.
fn wait<T>(answer: impl Future<Output = Result<T, KafkaError>>) -> Result<T, KafkaError> {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without drivers starts")
        .block_on(answer)
}
