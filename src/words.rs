//! How people are told.

use std::fmt::Display;

/// So many of them: `1 file`, `2 files`, `0 entries`. For nouns whose plural is regular.
#[must_use]
pub fn counted(count: impl Display, noun: &str) -> String {
    let count = count.to_string();
    let stem = noun.strip_suffix('y');
    let stem = stem.filter(|stem| !stem.ends_with(['a', 'e', 'o']));
    match stem {
        _ if count == "1" => format!("1 {noun}"),
        Some(stem) => format!("{count} {stem}ies"),
        None => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        assert_eq!(counted(0, "file"), "0 files");
        assert_eq!(counted(1_u64, "file"), "1 file");
        assert_eq!(counted(2_usize, "file"), "2 files");
        assert_eq!(counted(1, "entry"), "1 entry");
        assert_eq!(counted(21, "entry"), "21 entries");
        assert_eq!(counted(3, "day"), "3 days");
    }
}
