//! How long something outside is tried again: waits that double, and an end.

use std::time::Duration;

/// `[limits]` in the configuration: `retry_backoff_min`, `retry_backoff_max`, `retry_timeout`.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub first: Duration,
    pub longest: Duration,
    /// All waits together.
    pub total: Duration,
}

impl Patience {
    /// The waits between tries. When they end, it is time to give up.
    pub fn waits(self) -> impl Iterator<Item = Duration> {
        let doubled = move |wait: &Duration| Some((*wait * 2).min(self.longest));
        let waits = std::iter::successors(Some(self.first.min(self.longest)), doubled);
        let spend = |left: &mut Duration, wait: Duration| {
            *left = left.checked_sub(wait)?;
            Some(wait)
        };
        waits.scan(self.total, spend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_end_with_the_total() {
        let seconds = Duration::from_secs;
        let patience = Patience {
            first: seconds(1),
            longest: seconds(5),
            total: seconds(20),
        };
        let waits: Vec<u64> = patience.waits().map(|wait| wait.as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 5, 5]);
    }

    #[test]
    fn no_patience_is_one_try() {
        let first = Duration::from_secs(1);
        let patience = Patience {
            first,
            longest: first,
            total: Duration::ZERO,
        };
        assert_eq!(patience.waits().count(), 0);
    }
}
