//! A record that the brokers refuse is found, and costs its neighbours nothing.

use std::fmt::Write as _;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::kit::{self, Message, Signal, pipeline::Pipeline};

/// A payment whose id no compression makes smaller than half of `bytes`.
fn with_long_id(bytes: usize) -> Message {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut id = String::new();
    while id.len() < bytes {
        write!(id, "{:016x}", random.next_u64()).unwrap();
    }
    let mut message = kit::pipeline::payments(8, 1).remove(0);
    let text = String::from_utf8(message.value.unwrap()).unwrap();
    let (before, rest) = text.split_once("\"transaction_id\":\"").unwrap();
    let (_, after) = rest.split_once('"').unwrap();
    message.value = Some(format!("{before}\"transaction_id\":\"{id}\"{after}").into_bytes());
    message
}

#[test]
fn a_record_that_the_brokers_refuse_is_rejected_and_its_neighbours_are_scored() {
    let Some(kafka) = kit::kafka() else { return };
    let pipeline = Pipeline::create(kafka, "poison", "");
    pipeline.produce_payments(1, 200);
    let mut process = pipeline.run("a", &["--set", "batch.max_rows=64"], &[]);
    pipeline.await_processed();

    // Enough for 64 scored records, too little for the long one.
    kafka.set_of_topic("poison.scored", "max.message.bytes", "65536");
    let mut messages = kit::pipeline::payments(2, 300);
    let poison: Vec<Message> = [300_000, 200_000].map(with_long_id).into();
    messages.splice(100..100, poison.clone());
    kafka.produce("poison", &messages);
    pipeline.assert_books_agree(true);
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0, "{}", process.lines().join("\n"));

    assert_eq!(kafka.read_committed("poison.scored").len(), 500);
    let letters = pipeline.dead_letters();
    assert_eq!(letters.len(), 2);
    for (letter, poison) in letters.into_iter().zip(poison) {
        assert_eq!(letter.reason, "refused_by_broker");
        assert_eq!(letter.stage, "publish");
        assert!(letter.value == poison.value);
    }
}
