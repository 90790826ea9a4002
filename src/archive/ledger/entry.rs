//! The documents of the ledger: what one entry says, as one line of JSON, signed as a note.
//!
//! The same entry always gives the same bytes, and bytes in any other form are refused, so that what
//! is hashed and signed is what is read. Knows nothing of what came before; that is the fold's.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::keys::Role;
use crate::record::{Digest, NextOffset, NextPosition, Offset};
use crate::tlog::{Note, Signer, Verifier};

/// What the archive follows: one partition of an evidence topic. A re-created topic has another id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamId {
    pub cluster_id: String,
    pub topic: String,
    pub topic_id: String,
    pub partition: i32,
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition {} of `{}`", self.partition, self.topic)
    }
}

/// One partition of an input topic.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputId {
    pub topic: String,
    pub topic_id: String,
    pub partition: i32,
}

/// The input offsets `[first, next)` that an entry accounts for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coverage {
    pub topic: String,
    pub topic_id: String,
    pub partition: i32,
    #[serde(with = "OffsetNumber")]
    pub first: Offset,
    #[serde(with = "NextOffsetNumber")]
    pub next: NextOffset,
}

impl Coverage {
    #[must_use]
    pub fn input(&self) -> InputId {
        InputId {
            topic: self.topic.clone(),
            topic_id: self.topic_id.clone(),
            partition: self.partition,
        }
    }
}

/// One document of the ledger.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    pub n: u64,
    /// Of which archive: an entry of another one, signed by the same keys, is refused.
    #[serde(with = "hex")]
    pub archive: Digest,
    /// When it was written, µs since the epoch, UTC, by the clock of who wrote it.
    pub time: i64,
    /// In every 256th entry the digest of the fold of those before it, which makes a stored fold as good
    /// as the entries.
    #[serde(
        with = "optional_hex",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub state: Option<Digest>,
    #[serde(flatten)]
    pub body: Body,
}

/// What an entry says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Body {
    /// Commits the evidence positions `[first, next)` of a stream to one file.
    Segment(Box<Segment>),
    /// An operator's word that evidence or offsets are missing, and where the stream goes on.
    Break(Break),
    /// The file of an older entry has other bytes with the same rows: another version rebuilt it.
    Reseal(Reseal),
    /// Who may sign what, from here on.
    Key(KeyChange),
    /// Something happened to the system: a start, a stop, a change.
    Event(Event),
    /// Nothing happened, and the archiver was there.
    Heartbeat,
}

/// One Parquet file, and what it accounts for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    pub stream: StreamId,
    /// The stream's tip before, which need not hold a message: transactions leave markers.
    #[serde(with = "NextPositionNumber")]
    pub first: NextPosition,
    #[serde(with = "NextPositionNumber")]
    pub next: NextPosition,
    pub coverage: Vec<Coverage>,
    /// Heads of the chain of messages, before the first and after the last one.
    #[serde(with = "hex")]
    pub prev_head: Digest,
    #[serde(with = "hex")]
    pub head: Digest,
    pub rows: u64,
    pub scored: u64,
    pub rejected: u64,
    pub gaps: u64,
    /// The names and kinds of the columns that [`Segment::row_root`] is of.
    #[serde(with = "hex")]
    pub columns: Digest,
    /// The root of the tree over the rows' values, whatever the bytes of the file.
    #[serde(with = "hex")]
    pub row_root: Digest,
    /// The same of each row group; they are subtrees.
    #[serde(with = "hexes")]
    pub group_roots: Vec<Digest>,
    /// The least and the greatest event id, where all are short enough.
    pub min_id: Option<String>,
    pub max_id: Option<String>,
    #[serde(with = "hex")]
    pub sha256: Digest,
    pub bytes: u64,
    pub path: String,
    #[serde(with = "hex")]
    pub context: Digest,
    /// Score times, µs since the epoch, UTC.
    pub min_time: i64,
    pub max_time: i64,
    pub writer: String,
}

/// A tip that moves by an operator's word instead of by a segment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Break {
    pub stream: StreamId,
    #[serde(with = "NextPositionNumber")]
    pub first: NextPosition,
    #[serde(with = "NextPositionNumber")]
    pub next: NextPosition,
    /// The input offsets that are given up; `next` is where the stream goes on.
    pub coverage: Vec<Coverage>,
    /// The head that the first message after the break names as its predecessor.
    #[serde(with = "hex")]
    pub head: Digest,
    pub reason: String,
    pub operator: String,
}

/// Other bytes for the file of entry `entry`, of the same messages.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reseal {
    pub entry: u64,
    #[serde(with = "hex")]
    pub sha256: Digest,
    pub bytes: u64,
}

/// A key gets a role or loses it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyChange {
    pub act: Act,
    pub role: Role,
    /// The text of a [`Verifier`].
    pub key: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    /// The key may sign the entries after this one.
    Add,
    /// It may not. What it signed before stays good.
    Retire,
}

/// What happened, with facts that name no event and no person.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// `started`, `stopped` …
    pub kind: String,
    /// Of which process.
    pub instance: String,
    pub facts: BTreeMap<String, String>,
}

impl Body {
    /// The roles of which one must have signed it.
    #[must_use]
    pub fn signers(&self) -> &'static [Role] {
        match self {
            Body::Segment(_) | Body::Reseal(_) | Body::Heartbeat => &[Role::Archiver],
            Body::Break(_) => &[Role::Operator],
            Body::Key(_) => &[Role::Log],
            Body::Event(_) => &[Role::Archiver, Role::Scorer, Role::Operator],
        }
    }
}

impl KeyChange {
    /// # Errors
    /// When its text is no key.
    pub fn verifier(&self) -> Result<Verifier, Invalid> {
        Verifier::parse(&self.key).map_err(|error| Invalid(format!("its key: {error}")))
    }
}

impl Entry {
    /// What is signed: one line of JSON.
    #[must_use]
    pub fn to_text(&self) -> String {
        String::from_utf8(to_document(self)).expect("json is utf-8")
    }

    /// What is stored.
    #[must_use]
    pub fn sign(&self, signer: &Signer) -> Bytes {
        Bytes::from(signer.note(&self.to_text()))
    }

    /// Reads what is stored. Who signed it is for the fold to judge.
    ///
    /// # Errors
    /// When the bytes are not a note over exactly what [`Entry::to_text`] of this version writes.
    pub fn parse(bytes: &[u8]) -> Result<(Entry, Note<'_>), Invalid> {
        let note = Note::parse(bytes).map_err(|error| Invalid(error.to_string()))?;
        Ok((from_document(note.text.as_bytes())?, note))
    }
}

/// A JSON document that ends with a newline; the same value always gives the same bytes.
pub(in crate::archive) fn to_document(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(value).expect("texts, numbers and lists serialize");
    bytes.push(b'\n');
    bytes
}

/// Reads a document, and only in the one form in which it is written.
pub(super) fn from_document<T: Serialize + for<'a> Deserialize<'a>>(
    bytes: &[u8],
) -> Result<T, Invalid> {
    let value = serde_json::from_slice(bytes).map_err(|error| Invalid(error.to_string()))?;
    if to_document(&value) == bytes {
        Ok(value)
    } else {
        Err(Invalid("it is not written as this version writes".into()))
    }
}

/// Why a document is not one of the ledger, or does not follow those before it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invalid(pub String);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Invalid {}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Offset")]
pub(super) struct OffsetNumber(i64);

#[derive(Serialize, Deserialize)]
#[serde(remote = "NextOffset")]
pub(super) struct NextOffsetNumber(i64);

#[derive(Serialize, Deserialize)]
#[serde(remote = "NextPosition")]
pub(super) struct NextPositionNumber(i64);

/// Digests as hexadecimal text.
pub(super) mod hex {
    use super::Digest;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(digest)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = String::deserialize(deserializer)?;
        Digest::parse(&text).ok_or_else(|| D::Error::custom("a digest is 64 hexadecimal digits"))
    }
}

/// Lists of digests.
mod hexes {
    use super::Digest;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(digests: &[Digest], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(digests.iter().map(Digest::to_string))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Digest>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let digests = texts.iter().map(|text| Digest::parse(text));
        let digests: Option<Vec<Digest>> = digests.collect();
        digests.ok_or_else(|| D::Error::custom("a digest is 64 hexadecimal digits"))
    }
}

/// A digest that may be absent.
mod optional_hex {
    use super::Digest;
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(
        digest: &Option<Digest>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let digest = digest.as_ref().expect("an absent one is skipped");
        super::hex::serialize(digest, serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Digest>, D::Error> {
        super::hex::deserialize(deserializer).map(Some)
    }
}
