//! An operator's word, in the ledger: evidence is missing, a key is retired.
//!
//! Nothing here is done by itself. Each act is one signed entry that says who and why.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use super::collect::header;
use super::layout;
use super::ledger::{Act, Body, Break, Coverage, Entry, InputId, KeyChange, State, StreamId};
use super::log::{Log, Origin};
use super::store::{self, Store};
use crate::error::{Exit, Fatal, Result};
use crate::evidence::{self, Context, Header, Reader, SIGNATURE};
use crate::keys::{Keys, Role};
use crate::record::{Digest, NextOffset, NextPosition, Offset as InputOffset};
use crate::tlog::Verifier;

/// How long the broker may take to give the message after the break.
const TIMEOUT: Duration = Duration::from_secs(15);

/// What is missing, and who says so.
#[derive(Clone, Debug)]
pub struct Loss {
    pub partition: i32,
    /// The evidence goes on at this position, or at the first message after it.
    pub position: i64,
    pub reason: String,
    pub operator: String,
}

/// Accepts that the evidence of a partition is missing up to a message that is there, by an entry that the
/// operator signs. Returns what was appended, as a sentence.
///
/// # Errors
/// When there is no such message, it is no evidence, or the operator's key has no role.
pub fn accept_loss(
    client: ClientConfig,
    store: &dyn Store,
    origin: &Origin,
    keys: &Keys,
    log: &mut Log,
    loss: &Loss,
) -> Result<String> {
    let signer = keys.operator.as_ref().ok_or_else(|| {
        Fatal::usage("there is no operator.key in `keys.folder`, and an operator signs a break")
    })?;
    let stream = StreamId {
        cluster_id: origin.cluster_id.clone(),
        topic: origin.evidence_topic.clone(),
        topic_id: origin.evidence_topic_id.clone(),
        partition: loss.partition,
    };
    let scorers = log.holders(Role::Scorer);
    let after = read_after(client, store, &origin.evidence_topic, loss, &scorers)?;
    let tip = log.state().tip(&stream);
    let input = &after.input;
    let joins = after.prev == tip.head
        && tip
            .coverage
            .get(input)
            .is_none_or(|next| next.expected() == after.first);
    if after.position < tip.next || joins {
        return Err(Fatal::usage(format!(
            "the archive has the evidence of {stream} up to {}, and what is at {} joins it: there is nothing \
             to accept",
            tip.next, after.position
        )));
    }
    let first = tip
        .coverage
        .get(input)
        .map_or(after.first, |next| next.expected());
    if first > after.first {
        return Err(Fatal::usage(format!(
            "the message at {} begins at input offset {}, and {first} is archived: events would be \
             there twice. choose a later position",
            after.position, after.first
        )));
    }
    let lost = || Break {
        stream: stream.clone(),
        first: tip.next,
        next: after.position,
        coverage: vec![Coverage {
            topic: input.topic.clone(),
            topic_id: input.topic_id.clone(),
            partition: input.partition,
            first,
            next: NextOffset(after.first.0),
        }],
        head: after.prev,
        reason: loss.reason.clone(),
        operator: loss.operator.clone(),
    };
    let stands = |state: &State| state.tip(&stream).next == tip.next;
    match log.append(stands, |_| Body::Break(lost()), signer)? {
        Some(Entry { n, .. }) => Ok(format!(
            "entry {n}: the evidence of {stream} from {} to {} is given up, and with it input offsets {first} \
             to {}; archiving goes on there at the next start or assignment",
            tip.next, after.position, after.first
        )),
        None => Err(Fatal::new(
            Exit::CheckFailed,
            "the archiver has gone on meanwhile: look again whether anything is missing",
        )),
    }
}

/// The message with which a stream goes on.
struct After {
    position: NextPosition,
    input: InputId,
    first: InputOffset,
    prev: Digest,
}

fn read_after(
    mut client: ClientConfig,
    store: &dyn Store,
    topic: &str,
    loss: &Loss,
    scorers: &[Verifier],
) -> Result<After> {
    let failed = |error: rdkafka::error::KafkaError| {
        let place = format!("partition {} of `{topic}`", loss.partition);
        Fatal::unreachable(format!("cannot read {place} at {}", loss.position)).because(error)
    };
    let consumer: BaseConsumer = client
        .set("group.id", "probity-operator")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "error")
        .create()
        .map_err(failed)?;
    let mut place = TopicPartitionList::new();
    place
        .add_partition_offset(topic, loss.partition, Offset::Offset(loss.position))
        .map_err(failed)?;
    consumer.assign(&place).map_err(failed)?;
    let deadline = Instant::now() + TIMEOUT;
    while Instant::now() < deadline {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let message = message.map_err(failed)?;
        let refuse = |what: String| {
            Fatal::integrity(format!(
                "the message at {} of partition {} is no evidence with which the archive could go on: {what}",
                message.offset(),
                loss.partition
            ))
        };
        let bytes = header(&message, Header::NAME).unwrap_or_default();
        let parsed = Header::parse(bytes).map_err(|error| refuse(error.to_string()))?;
        let value = message.payload().unwrap_or_default();
        let signature = header(&message, SIGNATURE).unwrap_or_default();
        evidence::verify(
            scorers,
            loss.partition,
            evidence::head(bytes, value),
            signature,
        )
        .map_err(|error| refuse(error.to_string()))?;
        let mut reader = Reader::default();
        let brought = reader.context_of(&parsed, value);
        let brought = brought.map_err(|error| refuse(error.to_string()))?;
        let context = match brought {
            Some(context) => context,
            None => kept_context(store, parsed.context)?.ok_or_else(|| {
                refuse("its context was lost with an earlier message; choose a later one that brings it".into())
            })?,
        };
        return Ok(After {
            position: NextPosition(message.offset()),
            input: InputId {
                topic: context.facts().input_topic.clone(),
                topic_id: context.facts().input_topic_id.clone(),
                partition: loss.partition,
            },
            first: parsed.first,
            prev: parsed.prev,
        });
    }
    Err(Fatal::new(
        Exit::CheckFailed,
        format!(
            "partition {} of `{topic}` has no message at {} or later: wait until something was scored",
            loss.partition, loss.position
        ),
    ))
}

/// The context, where the archive has it from an earlier segment.
fn kept_context(store: &dyn Store, digest: Digest) -> Result<Option<Arc<Context>>> {
    let bytes = store::get(store, &layout::context(digest))?;
    let bytes = bytes.filter(|bytes| Digest::of(bytes) == digest);
    Ok(bytes
        .and_then(|bytes| Context::parse(&bytes).ok())
        .map(Arc::new))
}

/// Takes a role from a key, by an entry that a log key signs. Returns what was done, as a sentence.
///
/// # Errors
/// When no log key is here, or the key has not the role.
pub fn retire(keys: &Keys, log: &mut Log, role: Role, key: &Verifier) -> Result<String> {
    let holders = log.holders(role);
    if !holders.contains(key) {
        return Err(Fatal::usage(format!("{key} does not have the role {role}")));
    }
    if role == Role::Log && holders.len() == 1 {
        return Err(Fatal::usage(format!(
            "{key} is the only log key: nobody could sign after it. make the next one with \
             `probity keys next --role log`, and start the archiver with both"
        )));
    }
    let may = |signer: &&crate::tlog::Signer| log.holders(Role::Log).contains(signer.verifier());
    let signer = keys.log.iter().find(may).ok_or_else(|| {
        Fatal::usage(
            "there is no log.key in `keys.folder` that has its role; a log key signs who may sign",
        )
    })?;
    let change = KeyChange {
        act: Act::Retire,
        role,
        key: key.to_string(),
    };
    let authority = log.authority().clone();
    let has_role = |state: &State| state.holders(role, &authority).contains(key);
    match log.append(has_role, |_| Body::Key(change.clone()), signer)? {
        Some(Entry { n, .. }) => Ok(format!("entry {n}: {key} has no longer the role {role}")),
        None => Ok(format!("{key} has lost the role {role} meanwhile")),
    }
}
