//! Which of two packages is the newer one.

use std::cmp::Ordering;
use std::fmt;

use crate::record::Digest;

/// What orders packages of one name: the model's version, then that of its policy; and which package it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edition {
    pub name: String,
    pub version: String,
    pub policy: String,
    /// Of the package's files.
    pub digest: Digest,
}

impl Edition {
    /// None where two packages have nothing to do with each other.
    #[must_use]
    pub fn compare(&self, other: &Edition) -> Option<Ordering> {
        (self.name == other.name).then(|| {
            order(&self.version, &other.version).then_with(|| order(&self.policy, &other.policy))
        })
    }

    /// Reads what `Display` writes: names and versions have no blanks.
    #[must_use]
    pub fn parse(text: &str) -> Option<Edition> {
        let words: Vec<&str> = text.split(' ').collect();
        let [name, version, policy, digest] = words[..] else {
            return None;
        };
        Some(Edition {
            name: name.to_owned(),
            version: version.to_owned(),
            policy: policy.to_owned(),
            digest: Digest::parse(digest)?,
        })
    }
}

impl fmt::Display for Edition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Edition {
            name,
            version,
            policy,
            digest,
        } = self;
        write!(f, "{name} {version} {policy} {digest}")
    }
}

/// Orders versions as people read them: word by word, where digits and letters are words of their own and digits count by
/// their value. `1.10.0` is newer than `1.9.3`, `v10` than `v9`, `2026-11-02` than `2026-11-01`, and `1.0.0` than
/// `1.0.0-rc.1` and `1.0.0rc1`, as in semantic versioning. What stands behind `+` does not count.
#[must_use]
pub fn order(a: &str, b: &str) -> Ordering {
    let (a, b) = (words(a), words(b));
    let (mut left, mut right) = (a.iter(), b.iter());
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            // What goes on with letters is a version before the one that ends here.
            (None, Some(word)) => before_the_end(word).reverse(),
            (Some(word), None) => before_the_end(word),
            (Some(a), Some(b)) => match (is_number(a), is_number(b)) {
                (true, true) => value(a).cmp(&value(b)),
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => a.cmp(b),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Runs of digits and runs of letters.
fn words(version: &str) -> Vec<&str> {
    let version = version.split('+').next().unwrap_or_default();
    let parts = version.split(|c: char| !c.is_ascii_alphanumeric());
    let same = |a: &u8, b: &u8| a.is_ascii_digit() == b.is_ascii_digit();
    let runs = parts.flat_map(|part| part.as_bytes().chunk_by(same));
    runs.map(|run| std::str::from_utf8(run).expect("a run of ASCII"))
        .collect()
}

fn is_number(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit())
}

/// Numbers of any length: a longer one is larger, zeros in front aside.
fn value(digits: &str) -> (usize, &str) {
    let digits = digits.trim_start_matches('0');
    (digits.len(), digits)
}

fn before_the_end(word: &str) -> Ordering {
    match is_number(word) {
        true => Ordering::Greater,
        false => Ordering::Less,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edition(text: &str) -> Edition {
        Edition::parse(&format!("{text} {}", Digest::of(b"a package"))).unwrap()
    }

    #[test]
    fn an_edition_reads_what_it_writes() {
        let read = edition("card-risk 1.0.0 2");
        assert_eq!(Edition::parse(&read.to_string()), Some(read));
        for bad in ["", "card-risk", "card-risk 1.0.0 2", "a b c d", "a b c d e"] {
            assert_eq!(Edition::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_policy_orders_what_the_model_leaves_equal() {
        let now = edition("card-risk 1.9.0 2");
        let compare = |text| edition(text).compare(&now);
        assert_eq!(compare("card-risk 1.9.0 10"), Some(Ordering::Greater));
        assert_eq!(compare("card-risk 1.9.0 2"), Some(Ordering::Equal));
        assert_eq!(compare("card-risk 1.10.0 1"), Some(Ordering::Greater));
        assert_eq!(compare("card-risk 1.8.0 3"), Some(Ordering::Less));
        assert_eq!(compare("other-risk 0.1 1"), None);
    }

    #[test]
    fn versions_are_ordered_as_people_read_them() {
        let rising = [
            "0.9",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.1",
            "1.9.3",
            "1.10.0",
            "2",
            "2026-11-01",
            "2026-11-02",
        ];
        for (at, a) in rising.iter().enumerate() {
            for (other, b) in rising.iter().enumerate() {
                assert_eq!(order(a, b), at.cmp(&other), "{a} and {b}");
            }
        }
        assert_eq!(order("1.0.0+linux", "1.0.0+mac"), Ordering::Equal);
        for (older, newer) in [
            ("p9", "p10"),
            ("v9", "v10"),
            ("v2.0.0", "v10.0.0"),
            ("1.0.0", "1.0.1b"),
            ("1.0.1rc1", "1.0.1"),
            ("1.0.0-rc9", "1.0.0-rc10"),
            ("2026-Q4", "2026-Q10"),
            ("99999999999999999999", "100000000000000000000"),
        ] {
            assert_eq!(order(older, newer), Ordering::Less, "{older} and {newer}");
            assert_eq!(
                order(newer, older),
                Ordering::Greater,
                "{newer} and {older}"
            );
        }
        assert_eq!(order("1.02", "1.2"), Ordering::Equal);
    }
}
