//! Where everything in an archive lies. The only maker of its paths.
//!
//! Paths are relative to the archive's root, with `/` between their parts, on every kind of store.
//! Knows nothing of what the objects hold.

use std::fmt;

use chrono::{DateTime, Datelike as _};

use crate::record::{Digest, NextPosition};
use crate::tlog::tile;

/// Who this archive is: written once, before anything else.
pub const ARCHIVE: &str = "archive.json";

/// The object with which a store shows that its create-if-absent is one.
pub const PROBE: &str = ".probe/create-if-absent";

/// Where files of a local store are made ready. No glob over [`SEGMENTS`] sees it.
pub const STAGING: &str = ".staging";

/// The folder that analysts read. Nothing but segments may ever lie in it.
pub const SEGMENTS: &str = "segments";

/// A snapshot of the ledger's state is made for each multiple of this number of entries.
pub const STATE_INTERVAL: u64 = 256;

/// Where the entries lie.
pub const ENTRIES: &str = "ledger/entry";

/// Where the folds of the entries lie.
pub const STATES: &str = "ledger/state";

/// Where the checkpoints lie, each under its size.
pub const CHECKPOINTS: &str = "ledger/cp";

/// Where tiles and bundles of the transparency log lie.
pub const TILES: &str = "ledger/tile";

/// Entry `n`: its number in groups of three digits, as C2SP tlog-tiles writes numbers.
#[must_use]
pub fn entry(n: u64) -> String {
    format!("{ENTRIES}/{}", tile::number(n))
}

/// Which entry lies at `path`; none if no entry can.
#[must_use]
pub fn entry_at(path: &str) -> Option<u64> {
    let name = path.strip_prefix(ENTRIES)?;
    let digits: String = name.chars().filter(char::is_ascii_digit).collect();
    let n = digits.parse().ok()?;
    (entry(n) == path).then_some(n)
}

/// The fold of the first `entries` entries, a multiple of [`STATE_INTERVAL`].
#[must_use]
pub fn state(entries: u64) -> String {
    format!("{STATES}/{entries}")
}

/// Of how many entries the fold at `path` is; none if no fold can lie there.
#[must_use]
pub fn state_at(path: &str) -> Option<u64> {
    let name = path.strip_prefix(STATES)?.strip_prefix('/')?;
    let entries: u64 = name.parse().ok()?;
    (entries.is_multiple_of(STATE_INTERVAL) && state(entries) == path).then_some(entries)
}

/// A copy of the newest checkpoint, or of one before it: a hint. The one object that is replaced.
pub const CHECKPOINT: &str = "ledger/checkpoint";

/// The checkpoint of the first `size` entries.
#[must_use]
pub fn checkpoint(size: u64) -> String {
    format!("{CHECKPOINTS}/{size}")
}

/// A file of the transparency log, by its path in C2SP tlog-tiles.
#[must_use]
pub fn log_file(path: &str) -> String {
    format!("ledger/{path}")
}

/// Where the object with this SHA-256 lies.
type PathOf = fn(Digest) -> String;

/// The folders of objects that are named by their SHA-256, and how each names them.
pub const NAMED: [(&str, PathOf); 7] = [
    ("columns", columns),
    ("contexts", context),
    ("models", model),
    ("policies", policy),
    ("runtimes", runtime),
    ("configs", config),
    ("schemas", schema),
];

/// The SHA-256 that the object at `path` must have by its name; none if the path is not of that form.
#[must_use]
pub fn digest_at(path: &str) -> Option<Digest> {
    let (_, name) = path.split_once('/')?;
    let digest = Digest::parse(name.get(..64)?)?;
    let is_own = NAMED.iter().any(|(_, path_of)| path_of(digest) == path);
    is_own.then_some(digest)
}

/// The names and kinds of the columns that row roots are of, by the SHA-256 of the text.
#[must_use]
pub fn columns(digest: Digest) -> String {
    format!("columns/{digest}.txt")
}

/// The columns and facts that evidence names by their SHA-256: an Arrow IPC schema message.
#[must_use]
pub fn context(digest: Digest) -> String {
    format!("contexts/{digest}.arrows")
}

/// A file of the model package that made decisions, by its SHA-256.
#[must_use]
pub fn model(digest: Digest) -> String {
    format!("models/{digest}")
}

/// The configuration under which decisions were made, secrets redacted, by its SHA-256.
#[must_use]
pub fn config(digest: Digest) -> String {
    format!("configs/{digest}.toml")
}

/// What scores were computed on (library, processor, program), by its SHA-256.
#[must_use]
pub fn runtime(digest: Digest) -> String {
    format!("runtimes/{digest}.json")
}

/// The policy that made decisions of scores, as its canonical text, by its SHA-256.
#[must_use]
pub fn policy(digest: Digest) -> String {
    format!("policies/{digest}.txt")
}

/// The schema of the input, by its SHA-256.
#[must_use]
pub fn schema(digest: Digest) -> String {
    format!("schemas/{digest}.avsc")
}

/// The file of the segment that entry `n` commits, whose evidence begins at `first`. Unique because
/// `n` is.
#[must_use]
pub fn segment(day: Day, topic: &str, partition: i32, first: NextPosition, n: u64) -> String {
    let first = first.0;
    format!("{SEGMENTS}/dt={day}/{topic}-{partition}-{first:020}-{n}.parquet")
}

/// Whether `path` is one that [`segment`] makes for entry `n`: under the right folder, and like no
/// other entry's.
#[must_use]
pub fn is_segment(path: &str, n: u64) -> bool {
    let name = path.strip_prefix("segments/dt=");
    let is_plain = |name: &str| !name.contains("..") && name.matches('/').count() == 1;
    name.is_some_and(|name| is_plain(name) && name.ends_with(&format!("-{n}.parquet")))
}

/// The day, like `2026-11-23`, under which the file of a segment lies.
#[must_use]
pub fn day_at(path: &str) -> Option<&str> {
    let rest = path.strip_prefix(SEGMENTS)?.strip_prefix("/dt=")?;
    rest.split_once('/').map(|(day, _)| day)
}

/// A day, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Day(chrono::NaiveDate);

impl Day {
    /// The day of a time in µs since the epoch; none outside the years 1970 to 9999.
    #[must_use]
    pub fn of(time: i64) -> Option<Day> {
        let date = DateTime::from_timestamp_micros(time)?.date_naive();
        (1970..=9999).contains(&date.year()).then_some(Day(date))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format("%Y-%m-%d"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_these_for_ever() {
        assert_eq!(entry(0), "ledger/entry/000");
        assert_eq!(entry(67), "ledger/entry/067");
        assert_eq!(entry(1_000), "ledger/entry/x001/000");
        assert_eq!(entry(1_234_067), "ledger/entry/x001/x234/067");
        assert_eq!(state(512), "ledger/state/512");
        assert_eq!(checkpoint(7), "ledger/cp/7");
        assert_eq!(log_file("tile/0/000"), "ledger/tile/0/000");
        let digest = Digest::of(b"abc");
        assert_eq!(context(digest), format!("contexts/{digest}.arrows"));
        assert_eq!(model(digest), format!("models/{digest}"));
        assert_eq!(config(digest), format!("configs/{digest}.toml"));
        assert_eq!(runtime(digest), format!("runtimes/{digest}.json"));
        assert_eq!(policy(digest), format!("policies/{digest}.txt"));
        assert_eq!(schema(digest), format!("schemas/{digest}.avsc"));
        let day = Day::of(1_700_000_000_000_000).unwrap();
        let path = segment(day, "payments.evidence", 3, NextPosition(42), 7);
        assert_eq!(
            path,
            "segments/dt=2023-11-14/payments.evidence-3-00000000000000000042-7.parquet"
        );
        assert!(is_segment(&path, 7));
        assert!(!is_segment(&path, 17));
        assert!(!is_segment("segments/dt=2023-11-14/../x-7.parquet", 7));
        assert!(!is_segment("segments/dt=2023-11-14/a/x-7.parquet", 7));
        assert!(!is_segment("events/dt=2023-11-14/x-7.parquet", 7));
        assert_eq!(day_at(&path), Some("2023-11-14"));
        assert_eq!(day_at("events/dt=2023-11-14/x-7.parquet"), None);
    }

    #[test]
    fn each_object_has_one_path() {
        for n in [0, 67, 1_000, 1_234_067, u64::MAX] {
            assert_eq!(entry_at(&entry(n)), Some(n));
        }
        let strays = [
            "",
            ".DS_Store",
            "67",
            "x000/067",
            "067.tmp",
            "x067",
            "a/067",
        ];
        for stray in strays {
            assert_eq!(entry_at(&format!("{ENTRIES}/{stray}")), None, "{stray}");
        }
        assert_eq!(entry_at("ledger/entries/067"), None);

        assert_eq!(state_at(&state(512)), Some(512));
        for stray in ["", ".DS_Store", "0512", "+512", "511", "a/512"] {
            assert_eq!(state_at(&format!("{STATES}/{stray}")), None, "{stray}");
        }

        let digest = Digest::of(b"abc");
        for (folder, path_of) in NAMED {
            let path = path_of(digest);
            assert!(path.starts_with(&format!("{folder}/")), "{path}");
            assert_eq!(digest_at(&path), Some(digest));
            assert_eq!(digest_at(&format!("{path}~")), None);
        }
        assert_eq!(digest_at(&format!("models/{digest}.txt")), None);
        assert_eq!(digest_at("models/.DS_Store"), None);
    }

    #[test]
    fn a_day_begins_at_midnight_utc_and_has_an_end_of_years() {
        let midnight = 1_700_006_400_000_000;
        assert_eq!(Day::of(midnight).unwrap().to_string(), "2023-11-15");
        assert_eq!(Day::of(midnight - 1).unwrap().to_string(), "2023-11-14");
        assert_eq!(Day::of(-1), None);
        assert_eq!(Day::of(i64::MAX), None);
        assert_eq!(Day::of(i64::MIN), None);
    }
}
