//! The wall clock, in one place. It times and dates; it never takes part in a decision.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since the epoch, UTC.
#[must_use]
pub fn now_micros() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
