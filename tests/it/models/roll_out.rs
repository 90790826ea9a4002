//! A change of packages that does not go by the book: half of a group has it, a shadow is broken, nobody signed it.

use serde_json::json;

use super::*;
use crate::kit::Message;
use crate::kit::pipeline::PARTITIONS;
use crate::packages::copied;

const OLDER: &str = "probity_older_package_partitions_total";

#[test]
fn partitions_of_a_process_that_died_go_on_with_an_older_package_and_that_is_told() {
    let Some(kafka) = kit::kafka() else {
        return;
    };
    let pipeline = Pipeline::create(kafka, "models-group", "");
    let packages = Packages::new(&pipeline);
    packages.add("old", "1.0.0", &[]);
    packages.add("new", "1.1.0", &[]);
    let start = |instance: &str, package: &str| {
        let package = format!("model.package={}", packages.folder.join(package).display());
        pipeline.run(instance, &["--set", &package], &[])
    };
    let old = start("a", "old");
    pipeline.produce_payments(1, 400);
    pipeline.await_processed();
    let mut new = start("b", "new");
    let assigned = |process: &Guarded, partitions: f64| {
        let held = |metrics: &str| sum(metrics, "probity_partitions_assigned", "") == partitions;
        Admin::of(process).wait_for("/metrics", held).0
    };
    let half = f64::from(PARTITIONS) / 2.0;
    assigned(&new, half);
    let metrics = assigned(&old, half);
    assert_eq!(sum(&metrics, OLDER, ""), 0.0);
    pipeline.produce_payments(2, 400);
    pipeline.await_processed();

    new.signal(Signal::Kill);
    let metrics = assigned(&old, 2.0 * half);
    assert_eq!(sum(&metrics, OLDER, ""), half);
    let line = old.wait_for("goes on with an older one");
    assert!(line.contains("card-risk 1.1.0 with policy 1"), "{line}");
    pipeline.produce_payments(3, 400);
    pipeline.await_processed();
    // It has decided these last, so nobody is told again.
    let versions = by_version(&pipeline.scores());
    assert!(
        versions["1.1.0/1"] > 0 && versions["1.0.0/1"] > 800,
        "{versions:?}"
    );
    pipeline.assert_books_agree(false);
    assert_ne!(new.wait(), 0);
}

#[test]
fn a_broken_shadow_keeps_no_package_from_deciding() {
    let Some(kafka) = kit::kafka() else {
        return;
    };
    let pipeline = Pipeline::create(kafka, "models-shadow-broken", "");
    let packages = Packages::new(&pipeline);
    for (name, version) in [("first", "1.0.0"), ("second", "1.1.0"), ("shadow", "2.0.0")] {
        packages.add(name, version, &[]);
    }
    packages.choose("first");
    let shadow = packages.folder.join("shadow");
    let shadows = format!("model.shadows={}", shadow.display());
    let mut process = packages.start(&pipeline, "a", &["--set", &shadows, "--seal-on-stop"]);
    let admin = Admin::of(&process);
    let shadowed = |metrics: &str| sum(metrics, "probity_shadow_decisions_total", "");
    pipeline.produce_payments(1, 200);
    admin.wait_for("/metrics", |metrics| shadowed(metrics) == 200.0);

    // Alone it changes nothing: the one in force goes on.
    let whole = fs::read(shadow.join("model.onnx")).unwrap();
    fs::write(shadow.join("model.onnx"), &whole[..100]).unwrap();
    admin.wait_for("/metrics", |metrics| counts(metrics) == (0, 1));
    pipeline.produce_payments(2, 200);
    admin.wait_for("/metrics", |metrics| shadowed(metrics) == 400.0);

    packages.choose("second");
    admin.wait_for("/metrics", |metrics| counts(metrics) == (1, 2));
    pipeline.produce_payments(3, 200);
    pipeline.await_processed();

    // Mended, it comes back.
    fs::write(shadow.join("model.onnx"), &whole).unwrap();
    admin.wait_for("/metrics", |metrics| counts(metrics) == (2, 2));
    pipeline.produce_payments(4, 200);
    pipeline.await_processed();
    admin.wait_for("/metrics", |metrics| shadowed(metrics) == 600.0);
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0);
    let versions = by_version(&pipeline.scores());
    let wanted = [("1.0.0/1".to_owned(), 400), ("1.1.0/1".to_owned(), 400)];
    assert_eq!(versions, BTreeMap::from(wanted));
    pipeline.assert_books_agree(true);
}

/// What the signed package decides about.
fn events() -> Vec<Message> {
    let event = |number: i32| {
        json!({
            "transaction_id": number.to_string(), "event_time": "2026-01-31T12:00:00Z", "digits": "17", "ratio": 0.5,
            "balance": 12.5, "transfers": 3, "online": true
        })
    };
    let message = |number| Message {
        partition: number % PARTITIONS,
        value: Some(event(number).to_string().into_bytes()),
        ..Message::default()
    };
    (0..40).map(message).collect()
}

#[test]
fn what_nobody_signed_does_not_follow_while_payments_flow() {
    let Some(kafka) = kit::kafka() else {
        return;
    };
    let pipeline = Pipeline::create(kafka, "models-signed", "");
    let packages = Packages::new(&pipeline);
    let signing = root().join("tests/data/model-signing");
    let copy = |name: &str| {
        let folder = packages.folder.join(name);
        copied(&signing.join("package"), &folder);
        folder
    };
    copy("signed");
    packages.choose("signed");
    let field = |name: &str, kind: &str| json!({"name": name, "type": kind});
    let schema = pipeline.folder.join("event.avsc");
    let time = json!({"type": "long", "logicalType": "timestamp-micros"});
    let fields = [
        field("transaction_id", "string"),
        json!({"name": "event_time", "type": time}),
        field("digits", "string"),
        field("ratio", "float"),
        field("balance", "double"),
        field("transfers", "long"),
        field("online", "boolean"),
    ];
    let record = json!({"type": "record", "name": "event", "fields": fields});
    fs::write(&schema, record.to_string()).unwrap();
    let schema = format!("input.schema={}", schema.display());
    let key = format!("model.trust_key={}", signing.join("key.pub.pem").display());
    let mut process = packages.start(&pipeline, "a", &["--set", &schema, "--set", &key]);
    let admin = Admin::of(&process);
    kafka.produce(&pipeline.name, &events());
    pipeline.await_processed();

    let altered = copy("altered");
    let manifest = altered.join("model.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let newer = text.replacen("version = \"1.0.0\"", "version = \"1.1.0\"", 1);
    assert_ne!(newer, text);
    fs::write(&manifest, &newer).unwrap();
    let unsigned = copy("unsigned");
    fs::write(unsigned.join("model.toml"), &newer).unwrap();
    fs::remove_file(unsigned.join("model.sig")).unwrap();
    for (refused, (name, says)) in [("altered", "model.toml"), ("unsigned", "has no model.sig")]
        .into_iter()
        .enumerate()
    {
        packages.choose(name);
        admin.wait_for("/metrics", |metrics| {
            counts(metrics) == (0, refused as u64 + 1)
        });
        let line = process.wait_for(says);
        assert!(
            line.contains("a model package is refused"),
            "{name}: {line}"
        );
    }
    kafka.produce(&pipeline.name, &events());
    pipeline.await_processed();
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0);
    assert_eq!(
        by_version(&pipeline.scores()),
        BTreeMap::from([("1.0.0/2026-11-01".to_owned(), 80)])
    );
}
