//! The configuration as an operator meets it: the default file, the order of the layers, and the
//! exact words for everything that can be wrong before a broker is asked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rdkafka::ClientConfig;

use super::*;
use crate::error::Exit;

const DEFAULT_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/probity.toml");

fn environment(variables: &[(&str, &str)]) -> Environment {
    let mut environment: Environment = [("HOSTNAME".to_owned(), "host-1".to_owned())].into();
    environment.extend(
        variables
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned())),
    );
    environment
}

fn load(text: &str) -> Result<Config> {
    load_with(text, &[], &[])
}

/// The file is called `probity.toml`, whatever the folder it is read from.
fn load_with(text: &str, sets: &[&str], variables: &[(&str, &str)]) -> Result<Config> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("probity.toml");
    std::fs::write(&path, text).unwrap();
    let sets: Vec<_> = sets.iter().map(ToString::to_string).collect();
    Config::load(Some(&path), &sets, &environment(variables)).map_err(|mut fatal| {
        assert_eq!(fatal.exit, Exit::Usage);
        fatal.message = fatal
            .message
            .replace(&format!("{}/", folder.path().display()), "");
        fatal
    })
}

fn refusal(text: &str) -> String {
    load(text).expect_err(text).to_string()
}

fn defaults() -> Config {
    Config::load(None, &[], &environment(&[])).unwrap()
}

/// Keys that follow from others stand in the default file after a `#` without a space.
fn default_file_with_derived_keys() -> String {
    let text = std::fs::read_to_string(DEFAULT_FILE).unwrap();
    let uncommented = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => rest.to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(|line| uncommented(line) + "\n").collect()
}

fn keys(text: &str) -> Vec<String> {
    fn collect(prefix: &str, table: &toml::Table, keys: &mut Vec<String>) {
        for (name, value) in table {
            match value {
                toml::Value::Table(inner) => collect(&format!("{prefix}{name}."), inner, keys),
                _ => keys.push(format!("{prefix}{name}")),
            }
        }
    }
    let mut keys = Vec::new();
    collect("", &text.parse().unwrap(), &mut keys);
    keys
}

#[test]
fn the_default_file_lists_every_key_with_its_default() {
    let shipped = Config::load(Some(Path::new(DEFAULT_FILE)), &[], &environment(&[])).unwrap();
    assert_eq!(shipped.show(), defaults().show());
    assert_eq!(shipped.digest(), defaults().digest());

    let text = default_file_with_derived_keys();
    assert_eq!(keys(&text), keys(defaults().show()));
    let complete = load_with(&text, &[], &[]).unwrap();
    let with_instance = Config::load(
        None,
        &["pipeline.instance=payments-a".into()],
        &environment(&[]),
    );
    assert_eq!(complete.show(), with_instance.unwrap().show());
}

#[test]
fn the_example_for_a_gpu_is_a_configuration() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/gpu.toml");
    let config = Config::load(Some(Path::new(file)), &[], &environment(&[])).unwrap();
    assert_eq!(config.model.providers, [Provider::Cuda]);
    assert_eq!(config.model.gpu.memory_bytes, 2 << 30);
    assert_eq!(config.batch.max_rows, 65_536);
    assert!(config.model.package.join("model.toml").exists());
    assert!(config.input.schema.exists());
}

#[test]
fn no_section_of_the_default_file_goes_without_a_comment() {
    let text = std::fs::read_to_string(DEFAULT_FILE).unwrap();
    for block in text.split("\n\n") {
        assert!(block.contains("# "), "{block}");
    }
}

#[test]
fn what_is_shown_can_be_loaded() {
    let changed = load_with(
        "[batch]\nmax_rows = 7\n[kafka]\n\"sasl.username\" = \"ann \\\"the\\\" operator\"\n\
         [input]\nformat = \"avro-registry\"\n[input.schemas]\n42 = \"payment-v1.avsc\"\n\
         [archive]\nurl = \"s3://bucket/a/b/\"",
        &["output.headers=a,b"],
        &[],
    )
    .unwrap();
    for config in [defaults(), changed] {
        let again = load(config.show()).unwrap();
        assert_eq!(again.show(), config.show());
        assert_eq!(again.digest(), config.digest());
    }
}

#[test]
fn later_layers_win() {
    let text = "[log]\nlevel = \"error\"\n[batch]\nmax_rows = 1\nmax_bytes = \"2MiB\"\n";
    let variables = [
        ("PROBITY__LOG__LEVEL", "warn"),
        ("PROBITY__BATCH__MAX_ROWS", "2"),
    ];
    let config = load_with(text, &["batch.max_rows=3"], &variables).unwrap();
    assert_eq!(config.batch.max_bytes, 2 << 20);
    assert_eq!(config.log.level, LogLevel::Warn);
    assert_eq!(config.batch.max_rows, 3);
    assert_eq!(config.place("batch.max_rows"), "--set: batch.max_rows");
    assert_eq!(
        config.place("log.level"),
        "environment variable PROBITY__LOG__LEVEL: log.level"
    );
    assert!(
        config
            .place("batch.max_bytes")
            .ends_with("probity.toml:5: batch.max_bytes")
    );
    assert_eq!(config.place("batch.linger"), "default: batch.linger");
}

#[test]
fn paths_start_at_the_file_or_at_the_working_directory() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("probity.toml");
    std::fs::write(&file, "[model]\npackage = \"m\"\ntrust_key = \"k.pem\"").unwrap();
    let sets = [
        "input.schema=s.avsc".to_owned(),
        "model.runtime=/lib/ort.so".to_owned(),
    ];
    let config = Config::load(Some(&file), &sets, &environment(&[])).unwrap();
    assert_eq!(config.model.package, folder.path().join("m"));
    assert_eq!(config.model.trust_key, Some(folder.path().join("k.pem")));
    let here = std::env::current_dir().unwrap();
    assert_eq!(config.input.schema, here.join("s.avsc"));
    assert!(
        config
            .show()
            .contains(&format!("schema = \"{}/s.avsc\"", here.display()))
    );
    assert_eq!(config.model.runtime, Some(PathBuf::from("/lib/ort.so")));
    assert_eq!(
        defaults().model.package,
        PathBuf::from("config/models/card-risk")
    );
    assert_eq!(defaults().model.runtime, None);
    assert_eq!(defaults().model.trust_key, None);
    std::fs::write(&file, "[model]\nshadows = [\"a\", \"/b\"]").unwrap();
    let config = Config::load(Some(&file), &[], &environment(&[])).unwrap();
    let there = [folder.path().join("a"), PathBuf::from("/b")];
    assert_eq!(config.model.shadows, there);
    let set = ["model.shadows=a, /b".to_owned()];
    let config = Config::load(Some(&file), &set, &environment(&[])).unwrap();
    assert_eq!(config.model.shadows, [here.join("a"), PathBuf::from("/b")]);
}

#[test]
fn names_derive_from_the_topic_and_the_host() {
    let config = load("[input]\ntopic = \"cards\"").unwrap();
    assert_eq!(config.output.scored, "cards.scored");
    assert_eq!(config.output.evidence, "cards.evidence");
    assert_eq!(config.output.dead_letter, "cards.dlq");
    assert_eq!(config.pipeline.instance, "host-1");
    assert_eq!(config.transactional_id(3), "payments.host-1.3");
    assert_eq!(config.member(3), "host-1.3");
    assert_eq!(config.archive_group(), "payments.archive");
}

fn properties(client: &ClientConfig) -> BTreeMap<String, String> {
    client
        .config_map()
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

#[test]
fn clients_get_what_exactly_once_needs() {
    let config = load(
        "[kafka]\n\"client.rack\" = \"r1\"\n\
         [kafka.consumer]\n\"fetch.min.bytes\" = 2\n[kafka.producer]\nlinger.ms = 0.5",
    )
    .unwrap();
    let lane = properties(&config.consumer(2));
    let archiver = properties(&config.archiver_consumer());
    let producer = properties(&config.producer(2));
    let client = properties(&config.client());
    let holds = |client: &BTreeMap<String, String>, pairs: &[(&str, &str)]| {
        for (name, value) in pairs {
            assert_eq!(
                client.get(*name).map(String::as_str),
                Some(*value),
                "{name}"
            );
        }
    };
    holds(
        &lane,
        &[
            ("group.id", "payments"),
            ("group.instance.id", "host-1.2"),
            ("client.id", "probity.payments.host-1.2"),
            ("isolation.level", "read_committed"),
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "error"),
            ("session.timeout.ms", "45000"),
            ("max.poll.interval.ms", "300000"),
            ("socket.timeout.ms", "10000"),
            ("client.rack", "r1"),
            ("fetch.min.bytes", "2"),
        ],
    );
    holds(
        &archiver,
        &[
            ("group.id", "payments.archive"),
            ("group.instance.id", "host-1.archive"),
            ("fetch.wait.max.ms", "250"),
            ("fetch.min.bytes", "1048576"),
        ],
    );
    holds(
        &producer,
        &[
            ("transactional.id", "payments.host-1.2"),
            ("transaction.timeout.ms", "15000"),
            ("message.timeout.ms", "15000"),
            ("message.max.bytes", "2097152"),
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("linger.ms", "0.5"),
        ],
    );
    assert!(!producer.contains_key("fetch.min.bytes"));
    assert!(!lane.contains_key("linger.ms"));
    holds(
        &client,
        &[
            ("bootstrap.servers", "127.0.0.1:9092"),
            ("client.rack", "r1"),
        ],
    );
    assert!(!client.contains_key("linger.ms") && !client.contains_key("isolation.level"));
    let named = load("[kafka]\nclient.id = \"quota-a\"").unwrap();
    assert_eq!(named.consumer(0).get("client.id"), Some("quota-a"));
}

/// Creating a client makes librdkafka check its own relations between properties.
#[test]
fn librdkafka_takes_every_client() {
    use rdkafka::consumer::BaseConsumer;
    use rdkafka::producer::BaseProducer;
    let config = defaults();
    let _: BaseConsumer = config.consumer(0).create().unwrap();
    let _: BaseConsumer = config.archiver_consumer().create().unwrap();
    let _: BaseProducer = config.producer(0).create().unwrap();
    let _: BaseProducer = config.client().create().unwrap();
}

#[test]
fn secrets_are_nowhere() {
    let text =
        "[kafka]\n\"sasl.password\" = \"hunter2\"\n\"sasl.oauthbearer.config\" = \"hunter2\"";
    let variables = [("PROBITY__KAFKA__SSL_KEY_PASSWORD", "hunter2")];
    let config = load_with(text, &["kafka.ssl.key.pem=hunter2"], &variables).unwrap();
    let printed = format!("{config:?} {config} {}", config.show());
    assert!(!printed.contains("hunter2"));
    assert!(config.show().contains("\"sasl.password\" = \"[redacted]\""));
    assert_eq!(config.client().get("sasl.password"), Some("hunter2"));
    assert_eq!(config.consumer(0).get("ssl.key.password"), Some("hunter2"));
    let other = load_with(
        &text.replace("hunter2", "hunter3"),
        &["kafka.ssl.key.pem=x"],
        &variables,
    );
    assert_eq!(other.unwrap().digest(), config.digest());

    assert_eq!(
        refusal("[kafka]\n\"sasl.password\" = \"[redacted]\""),
        "probity.toml:2: kafka.sasl.password is a redacted secret; write the secret itself"
    );
    for wrong in [
        "[kafka]\n\"sasl.jaas.config\" = \"hunter2\"",
        "[kafka]\n\"sasl.passwort\" = \"hunter2\"",
        "[kafka]\n\"sasl.password\" = [\"hunter2\"]",
        "[kafka]\n\"sasl.password\" = \"hunter2",
        "[kafka.consumer]\n\"sasl.password\" = hunter2",
        "sasl_password = \"hunter2\"",
    ] {
        assert!(!refusal(wrong).contains("hunter2"), "{wrong}");
    }
}

#[test]
fn a_variable_with_too_few_underscores_is_not_passed_over() {
    let refused = |variable: &str| {
        let error = load_with("", &[], &[(variable, "hunter2")]).unwrap_err();
        assert!(!error.message.contains("hunter2"), "{error}");
        error.message
    };
    for variable in ["PROBITY_BATCH_MAX_ROWS", "PROBITY_BATCH__MAX_ROWS"] {
        assert_eq!(
            refused(variable),
            format!(
                "environment variable {variable}: sets nothing; for batch.max_rows write \
                 PROBITY__BATCH__MAX_ROWS"
            )
        );
    }
    for (variable, right) in [
        (
            "PROBITY_KAFKA_SASL_PASSWORD",
            "PROBITY__KAFKA__SASL_PASSWORD",
        ),
        ("PROBITY_ARCHIVE_S3_REGION", "PROBITY__ARCHIVE__S3__REGION"),
    ] {
        assert!(refused(variable).ends_with(right), "{}", refused(variable));
        load_with("", &[], &[(right, "eu-west-1")]).unwrap();
    }
    // Of others: of tests, of Kubernetes for a service of that name, and our own that set no key.
    let others = [
        "PROBITY_PYTHON",
        "PROBITY_ARCHIVE_PORT",
        "PROBITY_LOG",
        "PROBITY_CONFIG",
    ];
    load_with("", &[], &others.map(|name| (name, "x"))).unwrap();
}

#[test]
fn every_mistake_is_shown_at_once_in_the_order_of_the_file() {
    let error = load_with(
        "[pipeline]\nlanes = 0\n[batch]\nmax_row = 5\nmax_bytes = 5\n[kafka]\nacks = \"1\"\n",
        &["log.level=loud"],
        &[("PROBITY__INPUT__TOPICK", "payments")],
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the configuration has 6 errors
probity.toml:2: pipeline.lanes is 0, which is outside its limits; write 1 to 64
probity.toml:4: batch.max_row is unknown; did you mean batch.max_rows?
probity.toml:5: batch.max_bytes is 5, which has no unit; write it like "64KiB", "1MiB" or "3GiB"
probity.toml:7: kafka.acks is locked at all, because what is committed must be replicated; remove it
environment variable PROBITY__INPUT__TOPICK: input.topick is unknown; did you mean input.topic?
--set: log.level is "loud"; write "error" or "warn" or "info" or "debug" or "trace""#
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Config::load(Some(Path::new("/nowhere/a.toml")), &[], &environment(&[]));
    assert_eq!(
        error.unwrap_err().to_string(),
        "cannot read the configuration /nowhere/a.toml; name it with --config: \
         No such file or directory (os error 2)"
    );
}

#[test]
fn a_host_without_a_name_needs_an_instance() {
    let environment = [("HOSTNAME".to_owned(), String::new())].into();
    let error = Config::load(None, &[], &environment).unwrap_err();
    assert_eq!(
        error.to_string(),
        "default: pipeline.instance is empty; write a name like \"payments-a\""
    );
}

/// Each broken configuration of `broken.txt`, and the exact words that refuse it.
#[test]
fn broken_configurations() {
    let golden = include_str!("broken.txt");
    let mut actual = String::new();
    for case in golden.split_inclusive("\n\n") {
        let lines: Vec<_> = case
            .lines()
            .filter(|line| !line.starts_with("=> "))
            .collect();
        let text = lines.join("\n");
        if case.starts_with("##") {
            actual += case;
            continue;
        }
        actual += text.trim_end();
        for line in refusal(&text).lines() {
            actual += &format!("\n=> {line}");
        }
        actual += "\n\n";
    }
    assert_eq!(actual.trim_end(), golden.trim_end());
}

proptest! {
    #[test]
    fn any_file_is_read_or_refused(text in "(\\[[a-z.]{1,9}\\]\n)?([a-z.\"]{1,9} = [\\[\\]a-z0-9\"]{1,9}\n){0,3}") {
        let _ = load(&text);
    }
}
