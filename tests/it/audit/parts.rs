//! A part of an archive is verified as it is asked for, and against checkpoints that were kept.

use std::fs;

use probity::record::Digest;
use probity::tlog::{Checkpoint, Signer};

use super::*;

#[test]
fn a_part_is_verified_as_it_is_asked_for() {
    let Some(archive) = at_rest() else { return };
    let segments = archive.segments();
    let files = |arguments: &[&str]| {
        archive.report("verify", arguments)["files"]
            .as_u64()
            .unwrap()
    };
    let count =
        |is_in: &dyn Fn(&str) -> bool| segments.iter().filter(|path| is_in(path)).count() as u64;
    assert!(segments.len() >= 8, "{segments:?}");
    let day = |path: &str| path[12..22].to_owned();
    let (first, last) = (day(&segments[0]), day(segments.last().unwrap()));
    assert_eq!(
        files(&["--days", &format!("{first}..{last}")]),
        segments.len() as u64
    );
    assert_eq!(
        files(&["--days", &first]),
        count(&|path| day(path) == first)
    );
    let none = |arguments: &[&str]| {
        let ended = archive.audit("verify", arguments);
        assert_eq!((ended.code, &*ended.stdout), (2, ""), "{ended}");
        assert!(
            ended.stderr.contains("no segment is of these days"),
            "{ended}"
        );
    };
    none(&["--days", "2001-01-01..2001-12-31"]);
    let of = |partition: &str| count(&|path| path.contains(&format!("evidence-{partition}-")));
    assert!(of("2") > 0);
    assert_eq!(files(&["--partition", "2"]), of("2"));
    assert_eq!(
        files(&["--partition", "2", "--partition", "0"]),
        of("2") + of("0")
    );
    none(&["--partition", "9"]);
    let part = archive.audit("verify", &["--partition", "2"]).stdout;
    let says = format!(
        "✔ verified as far as read: the ledger, and {} of {} files",
        of("2"),
        segments.len()
    );
    assert!(part.ends_with(&(says + "\n")), "{part}");
    let whole = |arguments: &[&str]| archive.report("verify", arguments)["whole"].clone();
    assert_eq!(
        (whole(&[]), whole(&["--partition", "2"])),
        (true.into(), false.into())
    );
    let is_drawn = |path: &str, every: u16| {
        let digest = Digest::of(path.as_bytes()).0;
        u16::from_be_bytes([digest[0], digest[1]]).is_multiple_of(every)
    };
    for every in [1, 2, 3] {
        let drawn = count(&|path| is_drawn(path, every));
        assert_eq!(files(&["--sample", &every.to_string()]), drawn, "{every}");
    }
}

#[test]
fn a_finding_is_in_the_part_that_has_it() {
    let Some(archive) = at_rest() else { return };
    let archive = archive.copy("audit-part");
    let of_1 = |path: &&String| path.contains("evidence-1-");
    let path = archive.segments().iter().find(of_1).unwrap().clone();
    fs::remove_file(archive.folder.join(&path)).unwrap();
    assert_eq!(archive.findings(&["--partition", "0"]), []);
    let found = ("file-missing".to_owned(), path.clone());
    assert_eq!(
        archive.findings(&["--partition", "1"]),
        std::slice::from_ref(&found)
    );
    assert_eq!(archive.findings(&[]), [found]);
    // Who looks an event up is not told that it never was.
    let first = archive.audit("prove", &["audit:1:0"]);
    let by_id = archive.audit("show", &["mmmm: an id in the midst of all"]);
    for ended in [first, by_id] {
        assert_eq!(ended.code, 4, "{ended}");
        assert!(ended.stderr.contains(&path), "{ended}");
    }
}

#[test]
fn a_checkpoint_that_was_kept_must_be_of_this_ledger() {
    let Some(archive) = at_rest() else { return };
    let folder = kit::folder("audit-kept");
    let sizes = archive.checkpoints();
    let (smallest, largest) = (sizes[0], sizes[sizes.len() - 1]);
    assert!(smallest < largest);
    let kept = |name: &str, note: &str| {
        let path = folder.join(name);
        fs::write(&path, note).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let read =
        |size: u64| fs::read_to_string(archive.folder.join(format!("ledger/cp/{size}"))).unwrap();
    let older = kept("older", &read(smallest));
    let newest = kept("newest", &read(largest));
    archive.report("verify", &["--checkpoint", &older, "--checkpoint", &newest]);

    let keys = probity::keys::Keys::load(archive.trust.parent().unwrap()).unwrap();
    let note = read(smallest);
    let origin = note.lines().next().unwrap().to_owned();
    let of = |size: u64| Checkpoint {
        origin: origin.clone(),
        size,
        root: Digest::of(b"another history"),
    };
    let stranger = Signer::generate("test.example").unwrap();
    let elsewhere = Checkpoint {
        origin: "test.example/elsewhere".to_owned(),
        ..of(smallest)
    };
    for (name, note, finding) in [
        (
            "fork",
            of(smallest).sign(&[&keys.log[0]]),
            "checkpoint-fork",
        ),
        (
            "forged",
            of(smallest).sign(&[&stranger]),
            "checkpoint-signature",
        ),
        (
            "elsewhere",
            elsewhere.sign(&[&keys.log[0]]),
            "checkpoint-signature",
        ),
        ("larger", of(largest + 1).sign(&[&keys.log[0]]), "rollback"),
        (
            "none",
            note.replacen(&format!("\n{smallest}\n"), "\nmany\n", 1),
            "checkpoint-signature",
        ),
    ] {
        let path = kept(name, &note);
        let found = archive.findings(&["--checkpoint", &older, "--checkpoint", &path]);
        assert_eq!(found, [(finding.to_owned(), path)], "{name}");
    }
    // Each is told, also where both are wrong in the same way.
    let others = ["one", "two"].map(|name| kept(name, &elsewhere.sign(&[&keys.log[0]])));
    let found = archive.findings(&["--checkpoint", &others[0], "--checkpoint", &others[1]]);
    let wanted = others.map(|path| ("checkpoint-signature".to_owned(), path));
    assert_eq!(found, wanted);
    let unsigned = kept("unsigned", "a checkpoint\n");
    let ended = archive.audit("verify", &["--checkpoint", &unsigned]);
    assert_eq!(ended.code, 2, "{ended}");
    let said = format!("{unsigned} is no checkpoint");
    assert!(ended.stderr.contains(&said), "{ended}");

    // What is cut off leaves no trace but that.
    let cut = archive.copy("audit-cut");
    let below = sizes[sizes.len() - 2];
    fs::remove_file(cut.folder.join(format!("ledger/cp/{largest}"))).unwrap();
    fs::write(cut.folder.join("ledger/checkpoint"), read(below)).unwrap();
    fs::remove_dir_all(cut.folder.join("ledger/tile")).unwrap();
    let number = |n: u64| cut.folder.join(format!("ledger/entry/{n:03}"));
    for n in below..largest {
        let text = fs::read_to_string(number(n)).unwrap();
        let entry: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        if let Some(path) = entry["path"].as_str() {
            fs::remove_file(cut.folder.join(path)).unwrap();
        }
        fs::remove_file(number(n)).unwrap();
    }
    assert_eq!(cut.findings(&[]), []);
    let found = cut.findings(&["--checkpoint", &newest]);
    assert_eq!(found, [("rollback".to_owned(), newest)]);
}
