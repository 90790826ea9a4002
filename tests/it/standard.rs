//! The transparency log is standard: a program in Go, made of Go's own libraries, reads and refuses it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use probity::record::Digest;
use probity::tlog::tile::{bundles_between, number};
use probity::tlog::{Checkpoint, Edge, Signer, Verifier, tree};

use crate::kit;

/// The sizes at which the log has a checkpoint.
const SIZES: [u64; 6] = [1, 2, 255, 256, 257, 600];

const ORIGIN: &str = "bank.example/log/0123456789abcdef";

/// A log in a folder, laid out as in an archive.
struct Log {
    ledger: PathBuf,
    records: Vec<Vec<u8>>,
    edge: Edge,
    keys: [Signer; 2],
}

/// A key of the log; each seed gives another one of the same name.
fn key(seed: u8) -> Signer {
    Signer::from_seed("bank.example/log", [seed; 32]).unwrap()
}

impl Log {
    /// A log of [`SIZES`], if there is a program to check it.
    fn create(name: &str) -> Option<Log> {
        kit::ledgercheck()?;
        let mut log = Log {
            ledger: kit::folder(name).join("ledger"),
            records: Vec::new(),
            edge: Edge::default(),
            keys: [key(1), key(2)],
        };
        for size in SIZES {
            log.grow(size);
        }
        Some(log)
    }

    fn grow(&mut self, size: u64) {
        let old = self.edge.size();
        for n in old..size {
            let record = key(3).note(&format!("{{\"n\":{n}}}\n")).into_bytes();
            self.write(&format!("entry/{}", number(n)), &record);
            self.records.push(record);
        }
        for bundle in bundles_between(old, size) {
            let records = bundle.records();
            let records = &self.records[records.start as usize..records.end as usize];
            self.write(&bundle.path(), &bundle.encode(records).unwrap());
        }
        let leaves = self.records[old as usize..].iter();
        for (tile, bytes) in self.edge.grow(leaves.map(|record| tree::leaf_hash(record))) {
            self.write(&tile.path(), &bytes);
        }
        self.checkpoint(ORIGIN, self.edge.root());
    }

    /// Signs the log, as large as it is, with both keys.
    fn checkpoint(&self, origin: &str, root: Digest) {
        let checkpoint = Checkpoint {
            origin: origin.to_owned(),
            size: self.edge.size(),
            root,
        };
        let note = checkpoint.sign(&[&self.keys[0], &self.keys[1]]);
        self.write(&format!("cp/{}", checkpoint.size), note.as_bytes());
        self.write("checkpoint", note.as_bytes());
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.ledger.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn flip(&self, path: &str, byte: usize) {
        let mut bytes = fs::read(self.ledger.join(path)).unwrap();
        bytes[byte] ^= 1;
        self.write(path, &bytes);
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.ledger.join(path)).unwrap();
    }

    /// What the program says, and whether it accepts the log.
    fn check(&self, options: &[&str], keys: &[&Verifier]) -> Result<String, String> {
        let program = kit::ledgercheck().expect("it was there when the log was made");
        let output = Command::new(program)
            .args(options)
            .arg(&self.ledger)
            .args(keys.iter().map(|key| key.to_string()))
            .output()
            .unwrap();
        match output.status.code() {
            Some(0) => Ok(String::from_utf8(output.stdout).unwrap()),
            Some(1) => Err(String::from_utf8(output.stderr).unwrap()),
            _ => panic!("the program did not run: {output:?}"),
        }
    }

    fn assert_accepted(&self, options: &[&str]) {
        let accepted = self.check(options, &[self.keys[0].verifier()]);
        let counts = "600 records proven, 6 checkpoints consistent\n";
        assert_eq!(accepted.as_deref(), Ok(counts));
    }

    fn assert_refused(&self, options: &[&str], why: &str) {
        let refused = self.check(options, &[self.keys[0].verifier()]).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
}

#[test]
fn go_accepts_every_record_and_checkpoint() {
    let Some(log) = Log::create("standard") else {
        return;
    };
    log.assert_accepted(&[]);
    let path = |size: u64| log.ledger.join(format!("cp/{size}"));
    for size in SIZES {
        log.assert_accepted(&["-older", path(size).to_str().unwrap()]);
    }
    // Either key opens it while one replaces the other, and a third changes nothing.
    let other = key(4);
    let [old, new] = log.keys.each_ref().map(Signer::verifier);
    assert!(log.check(&[], &[new]).is_ok());
    assert!(log.check(&[], &[other.verifier(), old]).is_ok());
}

#[test]
fn go_needs_no_partial_tile_that_a_full_one_replaces() {
    let Some(log) = Log::create("standard-full") else {
        return;
    };
    for level in ["0", "entries"] {
        let folder = |path: &str| log.ledger.join("tile").join(level).join(path);
        fs::remove_dir_all(folder("000.p")).unwrap();
        fs::remove_dir_all(folder("001.p")).unwrap();
    }
    log.assert_accepted(&[]);
}

#[test]
fn go_refuses_what_was_altered() {
    let Some(log) = Log::create("standard-altered") else {
        return;
    };
    for (path, byte, why) in [
        ("tile/0/000", 40, "downloaded inconsistent tile"),
        ("tile/0/001", 8_191, "does not extend"),
        ("tile/0/002.p/88", 0, "downloaded inconsistent tile"),
        ("tile/1/000.p/2", 63, "downloaded inconsistent tile"),
        ("tile/0/000.p/255", 8_000, "downloaded inconsistent tile"),
        ("entry/300", 5, "record 300 is not in the log"),
        ("tile/entries/001", 100, "in its bundle"),
        ("tile/entries/002.p/88", 1, "no bundle of 88 records"),
        // Within the root: the size and the signatures stay.
        ("cp/257", 45, "invalid signature"),
        ("checkpoint", 3, "invalid signature"),
    ] {
        log.flip(path, byte);
        log.assert_refused(&[], why);
        log.flip(path, byte);
    }
    log.assert_accepted(&[]);
}

#[test]
fn go_refuses_what_is_absent_or_elsewhere() {
    let Some(log) = Log::create("standard-absent") else {
        return;
    };
    for path in ["tile/0/001", "entry/599", "tile/entries/000", "checkpoint"] {
        let bytes = fs::read(log.ledger.join(path)).unwrap();
        log.remove(path);
        log.assert_refused(&[], "no such file");
        log.write(path, &bytes);
    }
    // A checkpoint under the name of another size.
    fs::copy(log.ledger.join("cp/257"), log.ledger.join("cp/258")).unwrap();
    log.assert_refused(&[], "named by another size");
    log.remove("cp/258");
    log.assert_accepted(&[]);
}

#[test]
fn go_refuses_foreign_keys() {
    let Some(log) = Log::create("standard-foreign") else {
        return;
    };
    let refused = log.check(&[], &[key(4).verifier()]).unwrap_err();
    assert!(refused.contains("no verifiable signatures"), "{refused}");
}

/// The log's own keys sign what is false.
#[test]
fn go_refuses_what_is_signed_and_false() {
    let Some(log) = Log::create("standard-false") else {
        return;
    };
    let root = log.edge.root();
    log.checkpoint(ORIGIN, Digest::of(&root.0));
    log.assert_refused(&[], "downloaded inconsistent tile");
    log.checkpoint("bank.example/log/of-another-archive", root);
    log.assert_refused(&[], "is of log");
    log.checkpoint(ORIGIN, root);
    log.assert_accepted(&[]);
    let older = forked(&log.ledger);
    log.assert_refused(&["-older", older.to_str().unwrap()], "does not extend");
}

/// A checkpoint of 300 records that the same keys have signed, of a history that the log does not have.
fn forked(ledger: &Path) -> PathBuf {
    let checkpoint = Checkpoint {
        origin: ORIGIN.to_owned(),
        size: 300,
        root: Digest::of(b"another history"),
    };
    let path = ledger.with_file_name("kept");
    fs::write(&path, checkpoint.sign(&[&key(1)])).unwrap();
    path
}
