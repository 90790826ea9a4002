use super::memory::{Fault, Memory};
use super::*;
use crate::error::Exit;
use std::fs;
use std::path::Path;

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[test]
fn ensure_compares_after_every_answer_but_new() {
    let faults = [Fault::Lost, Fault::AnswerLost, Fault::Conflict];
    for first in faults {
        for second in faults {
            let store = Memory::failing([first, second]);
            let ensured = ensure(&store, "a", &bytes("mine")).unwrap();
            assert_eq!(ensured, Ensured::Same, "{first:?}, {second:?}");
            assert_eq!(store.get("a").unwrap(), Some(bytes("mine")));
            store.faults.lock().unwrap().extend([first, second]);
            let ensured = ensure(&store, "a", &bytes("other")).unwrap();
            assert_eq!(ensured, Ensured::Other(bytes("mine")));
        }
    }
}

#[test]
fn patience_ends() {
    let store = Memory::failing([Fault::Lost; 100]);
    let error = ensure(&store, "a", &bytes("mine")).unwrap_err();
    assert_eq!(error.exit, Exit::Unreachable);
    let text = error.to_string();
    assert!(
        text.contains("`a`") && text.contains("memory") && text.contains("500"),
        "{text}"
    );
}

#[test]
fn probe_finds_a_store_that_overwrites() {
    assert!(probe(&Memory::default()).is_ok());
    let store = Memory::failing([Fault::Lost, Fault::AnswerLost, Fault::Lost]);
    assert!(probe(&store).is_ok());
    assert!(
        probe(&store).is_ok(),
        "a second start finds the first's object"
    );
    let store = Memory::default();
    assert!(probe(&store).is_ok());
    // The first creates of the next probe are refused, as they should be; the last overwrites.
    store
        .faults
        .lock()
        .unwrap()
        .extend([Fault::Conflict, Fault::Conflict, Fault::Overwrite]);
    assert_eq!(probe(&store).unwrap_err().exit, Exit::Integrity);
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn of_many_threads_exactly_one_creates_a_local_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = Local::open(folder.path()).unwrap();
    probe(&store).unwrap();
    for round in 0..20 {
        let path = format!("segments/dt=2023-11-14/{round}.parquet");
        let texts: Vec<Bytes> = (0..8).map(|i| Bytes::from(vec![i; 100_000])).collect();
        let answers: Vec<Created> = std::thread::scope(|scope| {
            let threads: Vec<_> = texts
                .iter()
                .map(|text| scope.spawn(|| store.create(&path, text).unwrap()))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let winners: Vec<_> = (0..8).filter(|&i| answers[i] == Created::New).collect();
        assert_eq!(winners.len(), 1);
        assert_eq!(store.get(&path).unwrap().as_ref(), Some(&texts[winners[0]]));
        assert_eq!(store.size(&path).unwrap(), Some(100_000));
    }
    assert!(names(&folder.path().join(layout::STAGING)).is_empty());
    assert_eq!(store.get("segments/none").unwrap(), None);
    assert_eq!(store.size("segments/none").unwrap(), None);
}

#[test]
fn what_a_crash_leaves_staged_is_no_segment_and_goes_away_when_old() {
    let folder = tempfile::tempdir().unwrap();
    let store = Local::open(folder.path()).unwrap();
    let target = folder.path().join("segments/dt=2023-11-14/a.parquet");
    // As after a kill between link and unlink.
    let staged = store.stage(&bytes("rows")).unwrap();
    assert_eq!(store.link(&staged, &target).unwrap(), Created::New);
    assert_eq!(names(target.parent().unwrap()), ["a.parquet"]);
    assert_eq!(
        names(&folder.path().join(layout::SEGMENTS)),
        ["dt=2023-11-14"]
    );
    assert!(staged.extension().is_none());
    let staging = folder.path().join(layout::STAGING);
    Local::open(folder.path()).unwrap();
    assert_eq!(names(&staging).len(), 1, "it may be somebody's who lives");
    let old = std::time::SystemTime::UNIX_EPOCH;
    fs::File::open(&staged).unwrap().set_modified(old).unwrap();
    Local::open(folder.path()).unwrap();
    assert!(names(&staging).is_empty());
    assert_eq!(fs::read(target).unwrap(), b"rows");
}

#[test]
fn staged_names_are_never_shared() {
    let folder = tempfile::tempdir().unwrap();
    // Two processes with one id, as in two containers.
    let (one, two) = (
        Local::open(folder.path()).unwrap(),
        Local::open(folder.path()).unwrap(),
    );
    let (a, b) = (
        one.stage(&bytes("x")).unwrap(),
        two.stage(&bytes("x")).unwrap(),
    );
    assert_ne!(a, b);
}

#[test]
fn an_archive_that_is_a_file_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert_eq!(
        Local::open(file.path()).unwrap_err().exit,
        Exit::Unreachable
    );
}
