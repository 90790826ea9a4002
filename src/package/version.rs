//! Which of two versions is the newer one.

use std::cmp::Ordering;

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
