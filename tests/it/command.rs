//! What the command line promises whatever the command: needs no broker.

use std::process::Command;

use crate::kit;
use crate::kit::auditor::audit;

#[test]
fn a_reader_that_has_had_enough_ends_a_command_quietly() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut show = Command::new(env!("CARGO_BIN_EXE_probity"));
    let ended = show
        .args(["config", "show"])
        .stdout(writer)
        .output()
        .unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!((ended.status.code(), &*said), (Some(0), ""));
}

#[test]
fn an_error_that_nobody_reads_keeps_its_exit_code() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut show = Command::new(env!("CARGO_BIN_EXE_probity"));
    show.args(["config", "show", "--config", "nowhere"])
        .stderr(writer);
    assert_eq!(show.output().unwrap().status.code(), Some(2));
}

#[test]
fn a_command_that_reads_no_configuration_refuses_one() {
    let folder = kit::folder("command-config");
    for arguments in [
        &["demo"][..],
        &["verify", "a", "--key", "k"],
        &["prove", "a", "e", "--key", "k"],
        &["replay", "a", "--key", "k"],
        &["explain", "a", "e", "--key", "k"],
        &["show", "a", "e", "--key", "k"],
        &["generate"],
    ] {
        for given in [["--config", "probity.toml"], ["--set", "log.level=info"]] {
            let ended = audit(&folder, [&given[..], arguments].concat());
            assert_eq!(ended.code, 2, "{arguments:?}: {ended}");
            let says = format!("`{}` reads no configuration", arguments[0]);
            assert!(ended.stderr.contains(&says), "{ended}");
        }
    }
}

#[test]
fn the_demo_ends_by_itself_with_an_archive_that_is_verified() {
    if kit::runtime().is_none() {
        return;
    }
    let folder = kit::folder("command-demo");
    let ended = audit(
        &folder,
        [
            "demo",
            "--seconds",
            "2",
            "--rate",
            "200",
            "--archive",
            "archive",
        ],
    );
    assert_eq!(ended.code, 0, "{ended}");
    // As it is printed for who wants to look.
    let mut words = ended.stdout.split_whitespace();
    let key = words.find(|word| word.starts_with("demo.example+"));
    let key = key.unwrap_or_else(|| panic!("{ended}"));
    let verified = audit(&folder, ["verify", "archive", "--key", key]);
    assert_eq!(verified.code, 0, "{verified}");
}

#[test]
fn a_package_of_the_command_line_is_named_by_its_argument() {
    let folder = kit::folder("command-package");
    std::fs::write(folder.join("events"), "").unwrap();
    let schema = kit::pipeline::root().join("schemas/payment.avsc");
    let schema = format!("input.schema={}", schema.display());
    let known = kit::pipeline::root().join("config/models/card-risk");
    let known = known.to_str().unwrap();
    for (arguments, name) in [
        (&["model", "check", "nowhere"][..], "✘ FOLDER: "),
        (&["model", "inspect", "nowhere"], "probity: FOLDER: "),
        (&["model", "diff", "nowhere", known], "probity: OLD: "),
        (&["model", "diff", known, "nowhere"], "probity: NEW: "),
        (
            &["score", "events", "--package", "nowhere"],
            "probity: --package: ",
        ),
        (
            &["score", "events", "--compare", "nowhere", known],
            "probity: OLD: ",
        ),
        (
            &["score", "events", "--compare", known, "nowhere"],
            "probity: NEW: ",
        ),
    ] {
        let ended = audit(&folder, [arguments, &["--set", &schema]].concat());
        assert_eq!(ended.code, 2, "{arguments:?}: {ended}");
        let said = ended.stdout.clone() + &ended.stderr;
        assert!(said.lines().any(|line| line.starts_with(name)), "{ended}");
        assert!(!said.contains("model.package"), "{ended}");
    }
}

#[test]
fn what_is_no_proof_is_named_and_only_json_may_be_an_altered_one() {
    let folder = kit::folder("command-proof");
    let key = kit::pipeline::root().join("tests/data/golden.trust.toml");
    let key = key.to_str().unwrap();
    for (text, code) in [
        ("# README\n", 2),
        ("{\"format\": \"probity-proof/1\"}\n", 4),
    ] {
        std::fs::write(folder.join("some.file"), text).unwrap();
        let ended = audit(&folder, ["prove", "--check", "some.file", "--trust", key]);
        assert_eq!(ended.code, code, "{ended}");
        assert!(
            ended.stderr.starts_with("probity: some.file is no proof: "),
            "{ended}"
        );
    }
}

#[test]
fn an_auditor_without_onnx_runtime_is_told_to_name_it() {
    let golden = kit::pipeline::root().join("tests/data");
    let mut replay = Command::new(env!("CARGO_BIN_EXE_probity"));
    replay.current_dir(&golden).env_remove("ORT_DYLIB_PATH");
    replay.args(["replay", "golden", "--trust", "golden.trust.toml"]);
    let ended = replay.output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(3), "{said}");
    assert!(
        said.contains("with --runtime or in ORT_DYLIB_PATH"),
        "{said}"
    );
    assert!(!said.contains("configuration"), "{said}");
}

/// No broker answers there.
const NO_BROKER: [&str; 2] = ["--set", "kafka.bootstrap.servers=127.0.0.1:1"];

#[test]
fn check_looks_at_the_keys_of_the_roles_and_says_what_it_made() {
    let folder = kit::folder("command-check");
    let archive = format!("archive.url=file://{}/made", folder.display());
    let check = |roles: &str| {
        let arguments = [
            "check",
            "--roles",
            roles,
            "--set",
            &archive,
            "--set",
            "keys.folder=keys",
        ];
        audit(&folder, [&arguments[..], &NO_BROKER].concat())
    };
    let without = check("archive");
    assert_eq!(without.code, 1, "{without}");
    assert!(
        without.stdout.contains("✘ keys\n    there are no keys in "),
        "{without}"
    );
    assert!(
        without
            .stdout
            .contains("its folder was not there and is made now"),
        "{without}"
    );
    assert!(
        without.stderr.contains("2 things must be mended first"),
        "{without}"
    );

    let made = audit(
        &folder,
        ["keys", "init", "--name", "bank.example", "--folder", "keys"],
    );
    assert_eq!(made.code, 0, "{made}");
    for key in ["scorer.key", "log.key"] {
        std::fs::remove_file(folder.join("keys").join(key)).unwrap();
    }
    let archiver = check("archive");
    for line in [
        "✔ archiver.key signs the archive; without log.key, another process signs the ledger's head",
        "✔ admin.listen 127.0.0.1:",
        "✘ brokers",
        "creates once\n",
    ] {
        assert!(archiver.stdout.contains(line), "{line}: {archiver}");
    }
    assert!(
        archiver.stderr.contains("1 thing must be mended first"),
        "{archiver}"
    );
    let both = check("score,archive");
    assert!(
        both.stdout
            .contains("✘ keys of the scorer\n    `keys.folder` has no scorer.key"),
        "{both}"
    );
}

#[test]
fn a_check_that_nobody_reads_keeps_its_verdict() {
    let folder = kit::folder("command-check-closed");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut check = Command::new(env!("CARGO_BIN_EXE_probity"));
    let ended = check
        .args(["check", "--roles", "archive"])
        .args(NO_BROKER)
        .current_dir(&folder)
        .stdout(writer)
        .output()
        .unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("must be mended first"), "{said}");
}

#[test]
fn a_wrong_argument_is_refused_before_a_broker_is_asked() {
    let folder = kit::folder("command-arguments");
    for (arguments, says) in [
        (
            &["topics", "accept", "--partition", "0", "--from", "foo"][..],
            "say earliest, latest, evidence or an offset",
        ),
        (
            &["topics", "create", "--start", "foo"],
            "say earliest, latest or an offset",
        ),
        (
            &["topics", "create", "--start", "earliest", "--replicas", "0"],
            "'--replicas <N>'",
        ),
        (
            &[
                "topics",
                "create",
                "--start",
                "earliest",
                "--partitions",
                "0",
            ],
            "'--partitions <N>'",
        ),
        (&["generate", "--cards", "0"], "'--cards <N>'"),
        (
            &["generate", "--out", "one.csv", "--truth", "./one.csv"],
            "--out and --truth are one file",
        ),
    ] {
        let ended = audit(&folder, arguments);
        assert_eq!(ended.code, 2, "{arguments:?}: {ended}");
        assert!(ended.stderr.contains(says), "{arguments:?}: {ended}");
    }
}
