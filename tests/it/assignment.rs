//! Topics that change under a running process: noticed, refused with the fix, and healed where that is
//! possible without a restart.

use std::time::Duration;

use crate::kit::http::{Admin, sum};
use crate::kit::{self, Guarded, Signal, pipeline::Pipeline};

/// Kafka's client looks for new partitions each five minutes; the tests do not wait that long.
const LOOKS_OFTEN: [&str; 2] = ["--set", "kafka.topic.metadata.refresh.interval.ms=1000"];
/// Every ten seconds the topics are looked at; the rest is for a machine that has much else to do.
const NOTICED_WITHIN: Duration = Duration::from_secs(20);

fn end(mut process: Guarded) {
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0, "{}", process.lines().join("\n"));
}

/// Waits until `/readyz` gives these reasons, in this order, and no other.
#[track_caller]
fn assert_refused(admin: &Admin, reasons: &[(&str, &[&str])]) {
    let says = |line: &str, (who, words): &(&str, &[&str])| {
        line.starts_with(who) && words.iter().all(|word| line.contains(word))
    };
    let is_wanted = |body: &str| {
        let lines: Vec<&str> = body.lines().collect();
        lines.len() == reasons.len() && lines.iter().zip(reasons).all(|(l, r)| says(l, r))
    };
    let (_, waited) = admin.wait_for("/readyz", is_wanted);
    assert!(waited < NOTICED_WITHIN, "{waited:?}");
}

#[test]
fn an_input_topic_that_is_created_again_while_it_is_read_is_refused() {
    let Some(kafka) = kit::kafka() else { return };
    let pipeline = Pipeline::create(kafka, "recreated-live", "");
    pipeline.produce_payments(1, 400);
    let process = pipeline.run("a", &LOOKS_OFTEN, &[]);
    let admin = Admin::of(&process);
    pipeline.assert_books_agree(true);

    kafka.delete_topic("recreated-live");
    kafka.create_topic("recreated-live", kit::pipeline::PARTITIONS, &[]);
    // Fewer than before: an offset that is committed means no record of the new topic.
    pipeline.produce_payments(2, 40);
    let words: &[&str] = &["deleted and created again", "`probity topics accept`"];
    let who = |n: i32| format!("lane 0: partition {n} is refused: ");
    let who: Vec<String> = (0..kit::pipeline::PARTITIONS).map(who).collect();
    let reasons: Vec<(&str, &[&str])> = who.iter().map(|who| (&**who, words)).collect();
    assert_refused(&admin, &reasons);
    let (status, _) = admin.get("/readyz");
    assert_eq!(status, 503);
    let (_, metrics) = admin.get("/metrics");
    assert_eq!(sum(&metrics, "probity_partitions_refused", ""), 4.0);
    // More than before: now every offset that was committed means one of them.
    pipeline.produce_payments(3, 1_000);
    end(process);
    assert_eq!(kafka.read_committed("recreated-live.scored").len(), 400);
    assert_eq!(kafka.read_committed("recreated-live.dlq").len(), 0);
}

#[test]
fn a_new_partition_waits_for_its_twins_and_then_for_an_operator_while_the_others_go_on() {
    let Some(kafka) = kit::kafka() else { return };
    let pipeline = Pipeline::create(kafka, "wider", "");
    pipeline.produce_payments(1, 100);
    let process = pipeline.run("a", &LOOKS_OFTEN, &[]);
    let admin = Admin::of(&process);
    admin.wait_for("/readyz", |body| body == "ok\n");

    kafka.add_partitions("wider", 5);
    let who = "lane 0: partition 4 is refused: ";
    let lacks: &[&str] = &[
        "`wider.scored` has only 4 partitions",
        "add partitions to it",
    ];
    assert_refused(&admin, &[(who, lacks)]);
    kafka.add_partitions("wider.scored", 5);
    let lacks: &[&str] = &["`wider.evidence` has only 4 partitions"];
    assert_refused(&admin, &[(who, lacks)]);
    kafka.add_partitions("wider.evidence", 5);
    let begin: &[&str] = &[
        "no offset is committed for it",
        "`probity topics create --start",
    ];
    assert_refused(&admin, &[(who, begin)]);

    // The others never stopped.
    pipeline.produce_payments(2, 100);
    let scored = |metrics: &str| sum(metrics, "probity_rows_total", "scored") == 200.0;
    admin.wait_for("/metrics", scored);
    let mut late = kit::pipeline::payments(3, 10);
    late.iter_mut().for_each(|message| message.partition = 4);
    kafka.produce("wider", &late);
    end(process);
    assert_eq!(kafka.read_committed("wider.scored").len(), 200);

    kafka.await_empty("wider");
    pipeline.create_topics("earliest");
    let process = pipeline.run("a", &[], &[]);
    pipeline.assert_books_agree(true);
    end(process);
    assert_eq!(kafka.read_committed("wider.scored").len(), 210);
    let is_late = |score: &serde_json::Value| score["input"]["partition"] == 4;
    assert_eq!(pipeline.scores().iter().filter(|s| is_late(s)).count(), 10);
}

#[test]
fn records_that_were_deleted_before_they_were_read_are_a_gap_once_an_operator_says_so() {
    let Some(kafka) = kit::kafka() else { return };
    let pipeline = Pipeline::create(kafka, "deleted", "");
    pipeline.produce_payments(1, 100);
    let process = pipeline.run("a", &[], &[]);
    let admin = Admin::of(&process);
    pipeline.await_processed();

    process.signal(Signal::Stop);
    pipeline.produce_payments(2, 400);
    let before: Vec<(i32, i64)> = (0..).zip(kafka.ends("deleted")).take(2).collect();
    let before: Vec<(i32, i64)> = before.iter().map(|(p, end)| (*p, end - 5)).collect();
    kafka.delete_records("deleted", &before);
    process.signal(Signal::Continue);
    let words: &[&str] = &[
        "is no longer there: the log holds",
        "`probity topics accept`",
    ];
    let reasons = [
        ("lane 0: partition 0 is refused: ", words),
        ("lane 0: partition 1 is refused: ", words),
    ];
    assert_refused(&admin, &reasons);
    // Two partitions are lost at once, and the others go on.
    pipeline.produce_payments(3, 200);
    let done = |partition: usize| {
        let committed = kafka.committed("deleted", "deleted")[partition];
        committed == Some(kafka.ends("deleted")[partition])
    };
    admin.wait_for("/livez", |body| body == "ok\n" && done(2) && done(3));
    end(process);

    kafka.await_empty("deleted");
    let accept = "topics accept --partition 0 --partition 1 --from earliest";
    let (code, said) = pipeline.command(&accept.split(' ').collect::<Vec<_>>());
    assert_eq!(code, 0, "{said}");
    let process = pipeline.run("a", &[], &[]);
    pipeline.assert_books_agree(true);
    end(process);
}

#[test]
fn what_the_group_took_away_is_lost_and_not_revoked() {
    let Some(kafka) = kit::kafka() else { return };
    let pipeline = Pipeline::create(kafka, "lost", "");
    pipeline.produce_payments(1, 100);
    let process = pipeline.run("a", &[], &[]);
    let admin = Admin::of(&process);
    pipeline.await_processed();
    let changes = |metrics: &str, kind: &str| {
        sum(metrics, "probity_rebalances_total", &format!("\"{kind}\""))
    };
    let (_, metrics) = admin.get("/metrics");
    assert_eq!(changes(&metrics, "lost"), 0.0);

    process.signal(Signal::Stop);
    kafka.await_empty("lost");
    process.signal(Signal::Continue);
    let (metrics, _) = admin.wait_for("/metrics", |metrics| {
        changes(metrics, "lost") > 0.0 && changes(metrics, "assigned") > 1.0
    });
    assert_eq!(changes(&metrics, "revoked"), 0.0, "{metrics}");
    pipeline.produce_payments(2, 100);
    pipeline.assert_books_agree(true);
    end(process);
}
