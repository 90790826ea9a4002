//! When an open segment becomes a file. Pure.
//!
//! Any cut between two messages is right: these rules shape files and bound memory, and truth does not
//! depend on them. Limits are soft by one message, since messages are never cut.

use std::time::Duration;

use super::layout::Day;
use super::segment::Open;
use crate::evidence::Header;

/// The limits of segments.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Rows of a file.
    pub rows_max: u64,
    /// Encoded bytes of a file. A file is uploaded in one request: keep it below 256 MiB.
    pub bytes_max: usize,
    /// Between the score times of a file's first and last message; and how old its first message may
    /// become when no more come.
    pub age_max: Duration,
    /// Memory of all open segments together. Above it the largest becomes a file early.
    pub buffer_bytes: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            rows_max: 1_000_000,
            bytes_max: 128 << 20,
            age_max: Duration::from_secs(300),
            buffer_bytes: 192 << 20,
        }
    }
}

impl Settings {
    /// Whether a segment must end before this message.
    #[must_use]
    pub fn ends_before(&self, open: &Open, message: &Header) -> bool {
        message.context != open.context().digest()
            || Day::of(message.score_time) != Some(open.start().day)
            || open.rows() + u64::from(message.rows) > self.rows_max
            || is_older(open.start().time, message.score_time, self.age_max)
    }

    /// Whether a segment is full.
    #[must_use]
    pub fn is_full(&self, open: &Open) -> bool {
        open.rows() >= self.rows_max || open.bytes() >= self.bytes_max
    }

    /// Whether a segment to which nothing more comes has waited long enough. `now` is in µs since the
    /// epoch. Asked only when the partition is drained: after an outage all messages are old.
    #[must_use]
    pub fn is_due(&self, open: &Open, now: i64) -> bool {
        is_older(open.start().time, now, self.age_max)
    }
}

fn is_older(from: i64, to: i64, age: Duration) -> bool {
    i128::from(to) - i128::from(from) >= i128::try_from(age.as_micros()).unwrap_or(i128::MAX)
}
