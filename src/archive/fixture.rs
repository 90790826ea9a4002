//! Evidence for tests: a partition's messages, as the scoring role would write them.

use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Float32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field};
use bytes::Bytes;

use super::archiver::Identity;
use super::keeper::Board;
use super::log::Origin;
use super::stream::Record;
use crate::evidence::{
    Context, Facts, Flags, Kind, Payload, Place, Range, Seal, Verdict, Writer, head, lay_out,
    row_schema, sign,
};
use crate::keys::{Keys, Trust};
use crate::record::{Decision, Digest, NextOffset, Offset, Position, Reason, Rejection, Stage};
use crate::tlog::Signer;

/// The UTC day in µs, and a noon.
pub const DAY: i64 = 86_400_000_000;
pub const NOON: i64 = 19_675 * DAY + DAY / 2;

/// An archiver with a key for every role.
pub fn identity(writer: &str) -> Identity {
    let signer = |name: &str, seed| Signer::from_seed(name, [seed; 32]).unwrap();
    let (log, archiver) = (
        signer("bank.example", 1),
        signer("bank.example/archiver", 2),
    );
    let trust = Trust {
        log: vec![log.verifier().clone()],
        archiver: vec![archiver.verifier().clone()],
        scorer: vec![scorer().verifier().clone()],
        ..Trust::default()
    };
    let keys = Keys {
        scorer: None,
        archiver: Some(archiver),
        log: vec![log],
        operator: None,
        commitment: None,
        trust,
    };
    Identity {
        writer: writer.to_owned(),
        keys: Arc::new(keys),
        clock: || NOON,
    }
}

/// A board that its holders share.
#[derive(Clone, Default)]
pub struct Paper(pub Arc<Mutex<Vec<Bytes>>>);

impl Board for Paper {
    fn newest(&mut self) -> Result<Vec<Bytes>, String> {
        Ok(self.0.lock().unwrap().clone())
    }

    fn post(&mut self, checkpoint: &str) -> Result<(), String> {
        let checkpoint = Bytes::copy_from_slice(checkpoint.as_bytes());
        self.0.lock().unwrap().push(checkpoint);
        Ok(())
    }
}

/// Signs the evidence.
pub fn scorer() -> Signer {
    Signer::from_seed("bank.example/scorer", [3; 32]).unwrap()
}

pub fn origin() -> Origin {
    Origin {
        cluster_id: "cluster".into(),
        evidence_topic: "payments.evidence".into(),
        evidence_topic_id: "evidence-id".into(),
    }
}

pub fn context(model_version: &str) -> Arc<Context> {
    let schema = row_schema(
        &[
            Field::new("id", DataType::Utf8, true),
            Field::new("amount_minor", DataType::Int64, true),
        ],
        &[Field::new("amount", DataType::Float32, true)],
        &[],
    );
    let facts = Facts {
        cluster_id: "cluster".into(),
        input_topic: "payments".into(),
        input_topic_id: "input-id".into(),
        input_schema: Digest::of(b"schema").to_string(),
        event_id: "event_id".into(),
        event_time: "event_time".into(),
        model_name: "card-risk".into(),
        model_version: model_version.into(),
        model_sha256: Digest::of(b"model").to_string(),
        package_sha256: Digest::of(b"package").to_string(),
        policy_version: "1".into(),
        policy_sha256: Digest::of(b"policy").to_string(),
        runtime: "onnxruntime 1".into(),
        runtime_sha256: Digest::of(b"runtime").to_string(),
        provider: "cpu".into(),
        admission: "deterministic".into(),
        config_sha256: Digest::of(b"config").to_string(),
        commitment_key: "commitment-0123456789abcdef".into(),
        shadows: Vec::new(),
    };
    Arc::new(Context::new(&schema.unwrap(), facts))
}

/// What the evidence topic holds at one position.
#[derive(Clone, Debug)]
pub struct Written {
    pub position: Position,
    pub header: Vec<u8>,
    pub signature: Vec<u8>,
    pub value: Vec<u8>,
}

impl Written {
    pub fn record(&self) -> Record<'_> {
        Record {
            position: self.position,
            header: Some(&self.header),
            signature: Some(&self.signature),
            value: &self.value,
        }
    }
}

/// A partition of the evidence topic that is being written.
pub struct Topic {
    pub partition: i32,
    pub records: Vec<Written>,
    /// The next position.
    pub end: i64,
    /// The next input offset.
    pub offset: i64,
    pub head: Digest,
    /// Who signs the messages.
    pub scorer: fn() -> Signer,
    brought: Vec<Digest>,
}

impl Topic {
    pub fn new(partition: i32) -> Topic {
        Topic {
            partition,
            records: Vec::new(),
            end: 0,
            offset: 0,
            head: Digest::ZERO,
            scorer,
            brought: Vec::new(),
        }
    }

    /// Positions that a reader never sees: a transaction's marker, or aborted records.
    pub fn skip(&mut self, positions: i64) {
        self.end += positions;
    }

    /// Appends one message of `rows` rows that were scored at `time`.
    pub fn write(&mut self, context: &Arc<Context>, rows: usize, time: i64) {
        let places: Vec<Place> = (0..rows).map(|row| self.place(row)).collect();
        let mut own = events(&places, self.partition).to_vec();
        own.push(amounts(&places));
        let batch = lay_out(
            context.schema(),
            &places,
            &places.iter().map(verdict).collect::<Vec<_>>(),
            &own,
        );
        self.send(context, &places, &batch, time);
    }

    /// Appends these rows, which are at `places`, as one message that was scored at `time`.
    pub fn send(
        &mut self,
        context: &Arc<Context>,
        places: &[Place],
        rows: &RecordBatch,
        time: i64,
    ) {
        let next = places.last().unwrap().next;
        self.offset = next.0;
        let range = Range {
            first: places[0].offset,
            next,
            ingest_time: time - 10,
            score_time: time,
            prev: self.head,
            brings_context: !self.brought.contains(&context.digest()),
        };
        self.brought.push(context.digest());
        let (messages, new_head) = Writer::new(context.clone())
            .write(rows, range, usize::MAX)
            .unwrap();
        self.head = new_head;
        for message in messages {
            let header = message.header.to_bytes();
            assert_eq!(head(&header, &message.value), new_head);
            self.records.push(Written {
                signature: sign(&(self.scorer)(), self.partition, message.head).to_vec(),
                position: Position(self.end),
                header,
                value: message.value,
            });
            self.end += 1;
        }
    }

    fn place(&mut self, row: usize) -> Place {
        let offset = Offset(self.offset);
        let kind = match offset.0 % 7 {
            3 => Kind::Rejected,
            5 => Kind::Gap,
            _ => Kind::Scored,
        };
        self.offset += if kind == Kind::Gap { 2 } else { 1 };
        let rejected = Rejection::new(Stage::Decode, Reason::Malformed);
        Place {
            kind,
            offset,
            next: NextOffset(self.offset),
            broker_time: (kind != Kind::Gap).then_some(NOON + row as i64),
            leader_epoch: (kind != Kind::Gap).then_some(3),
            batch_row: (kind != Kind::Gap).then_some(row as i32),
            rejection: (kind == Kind::Rejected).then_some(rejected),
            flags: Flags {
                imputed: kind == Kind::Scored && offset.0 % 2 == 0,
                unknown_fields: false,
            },
            seal: seal(kind, offset),
        }
    }
}

/// Made of the offset, so that the same messages can be written again.
fn seal(kind: Kind, offset: Offset) -> Seal {
    let bytes = Digest::of(&offset.0.to_be_bytes()).0;
    let payload = Payload {
        bytes: 300 + i32::from(bytes[0]),
        commitment: bytes,
    };
    Seal {
        payload: (kind != Kind::Gap).then_some(payload),
        salt: *bytes.last_chunk().unwrap(),
    }
}

fn verdict(place: &Place) -> Option<Verdict> {
    (place.kind == Kind::Scored).then_some(Verdict {
        chunk_rows: 64,
        score: 1.0 / (1 + place.offset.0 % 97) as f32,
        margin: Some(place.offset.0 as f32),
        decision: Decision::ALL[usize::try_from(place.offset.0 % 3).unwrap()],
        threshold: [None, Some(0.5), Some(0.9)][usize::try_from(place.offset.0 % 3).unwrap()],
    })
}

fn events(places: &[Place], partition: i32) -> [ArrayRef; 2] {
    let scored = |p: &Place| (p.kind == Kind::Scored).then_some(p.offset.0);
    let id = |p: &Place| scored(p).map(|offset| format!("tx-{partition}-{offset:012}"));
    let ids: StringArray = places.iter().map(id).collect();
    let amounts: Int64Array = places
        .iter()
        .map(|p| scored(p).map(|o| o * 7919 % 10_007))
        .collect();
    [Arc::new(ids), Arc::new(amounts)]
}

fn amounts(places: &[Place]) -> ArrayRef {
    let amount = |p: &Place| (p.kind == Kind::Scored).then_some((p.offset.0 as f32).sqrt());
    Arc::new(places.iter().map(amount).collect::<Float32Array>())
}
