//! Durations and sizes as people write them: `15s`, `200ms`, `5m`; `64KiB`, `1MiB`, `3GiB`.
//!
//! Knows nothing of keys and files. One whole number and one unit, nothing else: a bare number is
//! refused, because nobody remembers whether a setting counts seconds or milliseconds. Errors are
//! the end of a sentence whose beginning names the key.

use std::time::Duration;

const DURATION_UNITS: [(&str, u64); 4] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60 * 1_000),
    ("h", 60 * 60 * 1_000),
];

const SIZE_UNITS: [(&str, u64); 4] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// The duration that `text` stands for.
///
/// # Errors
/// The rest of a sentence that begins with the key: what is wrong, and how to write it.
pub fn duration(text: &str) -> Result<Duration, String> {
    let millis = quantity(text, &DURATION_UNITS, "\"15s\", \"200ms\" or \"5m\"")?;
    Ok(Duration::from_millis(millis))
}

/// The number of bytes that `text` stands for.
///
/// # Errors
/// The rest of a sentence that begins with the key: what is wrong, and how to write it.
pub fn size(text: &str) -> Result<usize, String> {
    let bytes = quantity(text, &SIZE_UNITS, "\"64KiB\", \"1MiB\" or \"3GiB\"")?;
    usize::try_from(bytes).map_err(|_| format!("is {text:?}, which this machine cannot address"))
}

/// Writes a duration, whole milliseconds, the way [`duration`] reads it.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    show(millis, &DURATION_UNITS)
}

/// Writes a number of bytes the way [`size`] reads it.
#[must_use]
pub fn show_size(bytes: usize) -> String {
    show(bytes as u64, &SIZE_UNITS)
}

fn quantity(text: &str, units: &[(&str, u64)], examples: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(format!(
            "is {text:?}; write a whole number and a unit, like {examples}"
        ));
    }
    if unit.is_empty() {
        return Err(format!(
            "is {number}, which has no unit; write it like {examples}"
        ));
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        let names: Vec<_> = units.iter().map(|(name, _)| *name).collect();
        return Err(format!(
            "is {text:?}; the units are {}, as in {examples}",
            names.join(", ")
        ));
    };
    let number: Option<u64> = number.parse().ok();
    number
        .and_then(|number| number.checked_mul(*factor))
        .ok_or_else(|| {
            format!("is {text:?}, which is too large to count; write it like {examples}")
        })
}

/// In the largest unit that leaves a whole number; zero in the smallest.
fn show(amount: u64, units: &[(&str, u64)]) -> String {
    let whole = units
        .iter()
        .rev()
        .find(|(_, factor)| amount != 0 && amount.is_multiple_of(*factor));
    let (name, factor) = whole.unwrap_or(&units[0]);
    format!("{}{name}", amount / factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        assert_eq!(duration("15s"), Ok(Duration::from_secs(15)));
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("0ms"), Ok(Duration::ZERO));
        assert_eq!(show_duration(Duration::from_secs(300)), "5m");
        assert_eq!(show_duration(Duration::from_millis(1_500)), "1500ms");
        assert_eq!(show_duration(Duration::ZERO), "0ms");
    }

    #[test]
    fn sizes() {
        assert_eq!(size("1MiB"), Ok(1_048_576));
        assert_eq!(size("192MiB"), Ok(201_326_592));
        assert_eq!(show_size(65_536), "64KiB");
        assert_eq!(show_size(1_048_577), "1048577B");
        assert_eq!(show_size(0), "0B");
    }

    #[test]
    fn what_is_wrong_and_how_to_write_it() {
        let refused = |text| duration(text).unwrap_err();
        assert_eq!(
            refused("25"),
            r#"is 25, which has no unit; write it like "15s", "200ms" or "5m""#
        );
        assert_eq!(
            refused("1MiB"),
            r#"is "1MiB"; the units are ms, s, m, h, as in "15s", "200ms" or "5m""#
        );
        assert_eq!(
            refused("soon"),
            r#"is "soon"; write a whole number and a unit, like "15s", "200ms" or "5m""#
        );
        assert_eq!(
            refused("99999999999999999999h"),
            r#"is "99999999999999999999h", which is too large to count; write it like "15s", "200ms" or "5m""#
        );
        assert_eq!(
            size("1MB").unwrap_err(),
            r#"is "1MB"; the units are B, KiB, MiB, GiB, as in "64KiB", "1MiB" or "3GiB""#
        );
        assert!(size("-1MiB").is_err());
        assert!(duration("1.5s").is_err());
        assert!(duration("15 s").is_err());
        assert!(duration("").is_err());
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(amount in 0..u64::from(u32::MAX)) {
            let time = Duration::from_millis(amount);
            prop_assert_eq!(duration(&show_duration(time)), Ok(time));
            let bytes = usize::try_from(amount).unwrap();
            prop_assert_eq!(size(&show_size(bytes)), Ok(bytes));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            let _ = (duration(&text), size(&text));
        }
    }
}
