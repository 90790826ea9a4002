//! Numbers in sentences.

use std::fmt::Display;

/// `1 file`, `2 files`: so many of what has a regular plural.
#[must_use]
pub fn counted(count: impl Display + PartialEq + From<u8>, what: &str) -> String {
    let plural = if count == 1.into() { "" } else { "s" };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        assert_eq!(counted(0_usize, "file"), "0 files");
        assert_eq!(counted(1_i32, "file"), "1 file");
        assert_eq!(counted(2_u64, "file"), "2 files");
    }
}
