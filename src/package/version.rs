//! Which of two packages is the newer one.

use std::cmp::Ordering;
use std::fmt;

/// What orders packages of one name: the model's version, then that of its policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edition {
    pub name: String,
    pub version: String,
    pub policy: String,
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
        let mut words = text.split(' ').map(str::to_owned);
        let (name, version, policy) = (words.next()?, words.next()?, words.next()?);
        let is_whole = words.next().is_none() && !policy.is_empty();
        is_whole.then_some(Edition {
            name,
            version,
            policy,
        })
    }
}

impl fmt::Display for Edition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.name, self.version, self.policy)
    }
}

/// Orders versions as people read them: word by word, numbers by their value. `1.10.0` is newer than `1.9.3`,
/// `2026-11-02` than `2026-11-01`, and `1.0.0` than `1.0.0-rc.1`, as in semantic versioning.
#[must_use]
pub fn order(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.split('+').next(), b.split('+').next());
    let (a, b) = (a.unwrap_or_default(), b.unwrap_or_default());
    let (mut left, mut right) = (words(a), words(b));
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            // What goes on with a letter is a version before the one that ends here.
            (None, Some(word)) => before_the_end(word).reverse(),
            (Some(word), None) => before_the_end(word),
            (Some(a), Some(b)) => match (a.parse::<u64>(), b.parse::<u64>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                (Ok(_), Err(_)) => Ordering::Greater,
                (Err(_), Ok(_)) => Ordering::Less,
                (Err(_), Err(_)) => a.cmp(b),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn words(version: &str) -> impl Iterator<Item = &str> {
    version.split(['.', '-', '_'])
}

fn before_the_end(word: &str) -> Ordering {
    match word.starts_with(|c: char| c.is_ascii_digit()) {
        true => Ordering::Greater,
        false => Ordering::Less,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edition(text: &str) -> Edition {
        Edition::parse(text).unwrap()
    }

    #[test]
    fn an_edition_reads_what_it_writes() {
        assert_eq!(
            edition("card-risk 1.0.0 2").to_string(),
            "card-risk 1.0.0 2"
        );
        for bad in [
            "",
            "card-risk",
            "card-risk 1.0.0",
            "card-risk 1.0.0 ",
            "a b c d",
        ] {
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
    }
}
