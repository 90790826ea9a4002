//! Events in, scores, evidence and offsets out, in one transaction: on real Kafka.

use crate::kit::{self, Signal, pipeline::Pipeline};

#[test]
fn every_payment_is_scored_once_with_its_evidence() {
    let Some(kafka) = kit::kafka() else { return };
    let pipeline = Pipeline::create(kafka, "spine", "");
    pipeline.produce_payments(1, 2_000);
    let mut process = pipeline.run("a", &["--roles", "score"], &[]);
    pipeline.assert_books_agree(false);
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0);
    assert_eq!(kafka.read_committed("spine.scored").len(), 2_000);
}
