//! The wall clock, in one place. It times and dates; it never takes part in a decision.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since the epoch, UTC.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now_micros() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros())
        .unwrap_or(i64::MAX)
        .saturating_add(skew())
}

/// What a test sets a process's clock wrong by.
#[cfg(feature = "crash-points")]
fn skew() -> i64 {
    let seconds = std::env::var("PROBITY_CLOCK_SKEW_SECONDS");
    seconds.map_or(0, |seconds| {
        seconds.parse::<i64>().expect("a number") * 1_000_000
    })
}

#[cfg(not(feature = "crash-points"))]
fn skew() -> i64 {
    0
}
