//! Somebody may write to the topic of evidence and has no scorer's key: what they write is never archived.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use probity::evidence::{self, Header, Range, Reader, SIGNATURE, Writer};
use probity::record::{NextOffset, Offset};

use super::*;
use crate::kit::Record;
use crate::kit::http::Admin;

/// A message that joins the last one of its partition: only its signature can tell it from a genuine one.
struct Forgery {
    partition: i32,
    header: Vec<u8>,
    value: Vec<u8>,
    head: Digest,
}

impl Forgery {
    /// The rows of the last message of a partition once more, at the offsets that are next.
    fn after(evidence: &[Record], partition: i32) -> Forgery {
        let mut reader = Reader::default();
        let mut last = None;
        for record in evidence.iter().filter(|r| r.partition == partition) {
            let bytes = header(record);
            let parsed = Header::parse(bytes).unwrap();
            let value = record.value.as_deref().unwrap();
            let (context, rows) = reader.rows(&parsed, value).unwrap();
            last = Some((parsed, evidence::head(bytes, value), context, rows));
        }
        let (last, prev, context, rows) = last.expect("the partition has evidence");
        let len = last.next.0 - last.first.0;
        let range = Range {
            first: Offset(last.next.0),
            next: NextOffset(last.next.0 + len),
            ingest_time: last.ingest_time,
            score_time: last.score_time,
            prev,
            brings_context: false,
        };
        let writer = Writer::new(context);
        let (mut messages, head) = writer
            .write(&shifted(&rows, len), range, usize::MAX)
            .unwrap();
        let message = messages.remove(0);
        Forgery {
            partition,
            header: message.header.to_bytes(),
            value: message.value,
            head,
        }
    }

    /// As it is put into the topic.
    fn message(self, signer: Option<&Signer>) -> Message {
        let mut headers = vec![(Header::NAME.to_owned(), Some(self.header))];
        if let Some(signer) = signer {
            let signature = evidence::sign(signer, self.partition, self.head);
            headers.push((SIGNATURE.to_owned(), Some(signature.to_vec())));
        }
        Message {
            headers,
            ..Message::new(self.partition, self.value)
        }
    }
}

fn header(record: &Record) -> &[u8] {
    let (_, bytes) = record
        .headers
        .iter()
        .find(|(name, _)| name == Header::NAME)
        .unwrap();
    bytes.as_deref().unwrap()
}

/// The rows, so many offsets later.
fn shifted(rows: &RecordBatch, by: i64) -> RecordBatch {
    let schema = rows.schema();
    let columns = schema.fields().iter().zip(rows.columns());
    let columns = columns.map(|(field, column)| -> ArrayRef {
        match field.name().as_str() {
            "offset" | "next_offset" => {
                let offsets = column.as_primitive::<Int64Type>().values().iter();
                Arc::new(Int64Array::from_iter_values(
                    offsets.map(|offset| offset + by),
                ))
            }
            _ => column.clone(),
        }
    });
    RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
}

#[test]
fn evidence_that_no_scorer_signed_stops_its_partition_and_is_never_archived() {
    let Some(kafka) = kit::kafka() else { return };
    let pipeline = Pipeline::create(kafka, "audit-forged", "");
    pipeline.produce_payments(1, 400);
    let mut process = pipeline.run("a", &[], &[]);
    let admin = Admin::of(&process);
    pipeline.assert_books_agree(true);

    let topic = "audit-forged.evidence";
    let evidence = kafka.read_committed(topic);
    let stranger = Signer::generate("test.example/scorer").unwrap();
    let old = evidence
        .iter()
        .find(|record| record.partition == 2)
        .unwrap();
    let forged = [
        Forgery::after(&evidence, 1).message(None),
        Message {
            partition: 2,
            key: old.key.clone(),
            value: old.value.clone(),
            headers: old.headers.clone(),
            timestamp: None,
        },
        Forgery::after(&evidence, 3).message(Some(&stranger)),
    ];
    let ends = kafka.ends(topic);
    kafka.produce(topic, &forged);
    let reasons = [
        (1, "its length is wrong"),
        (2, "its predecessor has head"),
        (3, "it is by a key that is not trusted to score"),
    ];
    let (ready, _) = admin.wait_for("/readyz", |body| body.lines().count() == reasons.len());
    for (line, (partition, reason)) in ready.lines().zip(reasons) {
        let at = ends[partition];
        let begin = format!("archive: partition {partition} is refused: the message at {at} ");
        assert!(line.starts_with(&begin) && line.contains(reason), "{line}");
        process.wait_for("archiving of a partition has stopped");
    }

    // Nobody waits for an operator but the archive of these three.
    pipeline.produce_payments(2, 400);
    pipeline.await_processed();
    assert_eq!(kafka.read_committed("audit-forged.scored").len(), 800);
    let goes_on = payments(2, 400)
        .iter()
        .filter(|payment| payment.partition == 0)
        .count();
    let archived = json!(400 + goes_on);
    let deadline = Instant::now() + kit::DEADLINE;
    loop {
        let report = pipeline.verify().json();
        if report["scored"] == archived {
            break;
        }
        assert!(Instant::now() < deadline, "{report}");
        // Segments come without notice.
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 4, "{}", process.lines().join("\n"));

    // Nor after a restart.
    let mut process = pipeline.run("a", &["--seal-on-stop"], &[]);
    let admin = Admin::of(&process);
    admin.wait_for("/readyz", |body| body == format!("{}\n", ready.trim_end()));
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 4, "{}", process.lines().join("\n"));
    pipeline.assert_verified();
    assert_eq!(pipeline.verify().json()["scored"], archived);
}
