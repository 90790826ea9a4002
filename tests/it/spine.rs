//! Events in; scores, evidence, dead letters and offsets out, in one transaction; and the archive.

use crate::kit::{self, Message, Signal, pipeline::Pipeline};

#[test]
fn every_payment_is_scored_once_with_its_evidence_and_archived() {
    let Some(kafka) = kit::kafka() else { return };
    let pipeline = Pipeline::create(kafka, "spine", "");
    pipeline.produce_payments(1, 2_000);
    kafka.produce(
        "spine",
        &[
            Message::new(0, "{not json"),
            Message {
                partition: 1,
                ..Message::default()
            },
        ],
    );
    let mut process = pipeline.run("a", &[], &[]);
    pipeline.assert_books_agree(true);
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0, "{}", process.lines().join("\n"));
    assert_eq!(kafka.read_committed("spine.scored").len(), 2_000);
    assert_eq!(kafka.read_committed("spine.dlq").len(), 2);
    pipeline.assert_contracts_hold();
}

#[test]
fn a_restart_goes_on_where_the_last_process_stopped() {
    let Some(kafka) = kit::kafka() else { return };
    let pipeline = Pipeline::create(kafka, "restart", "");
    for seed in 1..=3 {
        pipeline.produce_payments(seed, 300);
        let mut process = pipeline.run("a", &["--seal-on-stop"], &[]);
        pipeline.assert_books_agree(true);
        process.signal(Signal::Terminate);
        assert_eq!(process.wait(), 0, "{}", process.lines().join("\n"));
    }
    assert_eq!(kafka.read_committed("restart.scored").len(), 900);
}

#[test]
fn control_and_aborted_records_of_the_input_become_gaps() {
    let Some(kafka) = kit::kafka() else { return };
    let pipeline = Pipeline::create(kafka, "gaps", "");
    let payments = kit::pipeline::payments(5, 300);
    let writer = kafka.transactional_writer("gaps-payments");
    for (n, some) in payments.chunks(20).enumerate() {
        if n % 3 == 1 {
            writer.abort("gaps", some);
        } else {
            writer.commit("gaps", some);
        }
    }
    let mut process = pipeline.run("a", &[], &[]);
    pipeline.assert_books_agree(true);
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0, "{}", process.lines().join("\n"));
    assert_eq!(kafka.read_committed("gaps.scored").len(), 200);
}
