//! The test kit itself: what the other tests believe of it.

use std::path::Path;
use std::process::Command;

use crate::kit::{self, Guarded, Isolation, Message, Signal};

fn numbered(partition: i32, count: usize) -> Vec<Message> {
    (0..count)
        .map(|n| Message::new(partition, n.to_string()))
        .collect()
}

#[test]
fn committed_records_are_seen_and_aborted_ones_are_not() {
    let Some(kafka) = kit::kafka() else { return };
    let topic = "kit-transactions";
    kafka.create_topic(topic, 1, &[]);
    let writer = kafka.transactional_writer(topic);
    writer.commit(topic, &numbered(0, 100));
    writer.commit(topic, &numbered(0, 100));
    writer.abort(topic, &numbered(0, 50));
    writer.commit(topic, &numbered(0, 100));

    assert_eq!(kafka.read_committed(topic).len(), 300);
    assert_eq!(kafka.read(topic, Isolation::ReadUncommitted).len(), 350);
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let Some(kafka) = kit::kafka() else { return };
    let topic = "kit-fields";
    kafka.create_topic(topic, 3, &[("max.message.bytes", "2000000")]);
    let message = Message {
        partition: 2,
        key: Some(b"key".to_vec()),
        value: None,
        headers: vec![("a".into(), Some(vec![0, 255])), ("a".into(), None)],
        timestamp: Some(1_700_000_000_000),
    };
    kafka.produce(topic, std::slice::from_ref(&message));

    let records = kafka.read_committed(topic);
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!((record.partition, record.offset), (2, 0));
    assert_eq!((&record.key, &record.value), (&message.key, &message.value));
    assert_eq!(
        (&record.headers, record.timestamp),
        (&message.headers, message.timestamp)
    );
    assert_eq!(
        kafka.committed("kit-no-such-group", topic),
        [None, None, None]
    );
}

#[test]
fn a_killed_broker_comes_back_with_its_records() {
    let Some(kafka) = kit::own_kafka("restart", 1) else {
        return;
    };
    let topic = "kit-restart";
    kafka.create_topic(topic, 1, &[]);
    kafka.produce(topic, &numbered(0, 10));
    kafka.kill(0);
    kafka.start_again(0);
    kafka.produce(topic, &numbered(0, 10));
    assert_eq!(kafka.read_committed(topic).len(), 20);
}

#[test]
fn three_brokers_go_on_without_one() {
    let Some(kafka) = kit::own_kafka("three", 3) else {
        return;
    };
    let topic = "kit-three";
    kafka.create_topic(topic, 3, &[]);
    kafka.kill(2);
    let writer = kafka.transactional_writer(topic);
    writer.commit(
        topic,
        &[numbered(0, 10), numbered(1, 10), numbered(2, 10)].concat(),
    );
    assert_eq!(kafka.read_committed(topic).len(), 30);
}

#[test]
fn a_deleted_topic_can_be_created_again() {
    let Some(kafka) = kit::kafka() else { return };
    let topic = "kit-created-twice";
    kafka.create_topic(topic, 1, &[]);
    kafka.produce(topic, &numbered(0, 10));
    kafka.delete_topic(topic);
    kafka.create_topic(topic, 1, &[]);
    assert_eq!(kafka.read_committed(topic), []);
}

#[test]
fn a_child_is_waited_for_signalled_and_its_end_is_told() {
    let folder = kit::folder("kit-child");
    let script = "trap 'echo asked to stop; kill $!; exit 7' TERM
        sleep 1000 >/dev/null 2>&1 &
        echo ready >&2
        wait";
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    let mut child = Guarded::start(&command, &folder.join("child"));
    assert_eq!(child.wait_for("ready"), "ready");
    child.signal(Signal::Terminate);
    assert_eq!(child.wait_for("asked"), "asked to stop");
    assert_eq!(child.wait(), 7);
    assert_eq!(child.lines(), ["ready", "asked to stop"]);
}

#[test]
fn a_killed_child_is_told_by_its_signal() {
    let folder = kit::folder("kit-killed-child");
    let mut child = Guarded::start(Command::new("sleep").arg("1000"), &folder.join("child"));
    child.signal(Signal::Stop);
    child.signal(Signal::Continue);
    child.signal(Signal::Kill);
    assert_eq!(child.wait(), 128 + 9);
}

#[test]
fn a_child_does_not_outlive_its_guard_even_when_stopped() {
    let folder = kit::folder("kit-stopped-child");
    let child = Guarded::start(Command::new("sleep").arg("1000"), &folder.join("child"));
    let process = format!("/proc/{}", child.pid());
    assert!(Path::new(&process).exists());
    child.signal(Signal::Stop);
    drop(child);
    assert!(!Path::new(&process).exists());
}

#[test]
fn the_program_under_test_can_be_run() {
    let folder = kit::folder("kit-probity");
    let mut probity = kit::probity(&folder, "help", &["--help"], &[("PROBITY_LOG", "info")]);
    assert_eq!(probity.wait(), 0);
}
