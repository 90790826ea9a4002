//! How long something outside is tried again: waits that double, and a deadline over tries and waits.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a call that is tried again may take at least: less would fail whatever the cluster does.
const CALL_MIN: Duration = Duration::from_millis(100);

/// Tells that a thread runs. Beats at least once per round, and before each try and each wait in between.
#[derive(Clone)]
pub struct Pulse(Arc<dyn Fn() + Send + Sync>);

impl Pulse {
    pub fn new(beat: impl Fn() + Send + Sync + 'static) -> Pulse {
        Pulse(Arc::new(beat))
    }

    pub fn beat(&self) {
        (self.0)();
    }
}

impl Default for Pulse {
    /// Nobody is told.
    fn default() -> Pulse {
        Pulse::new(|| {})
    }
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pulse")
    }
}

/// `[limits]` in the configuration: `retry_backoff_min`, `retry_backoff_max`, `retry_timeout`.
#[derive(Clone, Debug)]
pub struct Patience {
    pub first: Duration,
    pub longest: Duration,
    /// All tries and waits together.
    pub total: Duration,
    pub pulse: Pulse,
}

impl Patience {
    /// The time of the first try is now.
    #[must_use]
    pub fn start(&self) -> Tries {
        Tries {
            next: self.first.min(self.longest),
            longest: self.longest,
            deadline: Instant::now() + self.total,
            is_first: true,
            pulse: self.pulse.clone(),
        }
    }
}

/// The tries of one thing, or of several that must all be done by then.
#[derive(Debug)]
pub struct Tries {
    next: Duration,
    longest: Duration,
    deadline: Instant,
    is_first: bool,
    pulse: Pulse,
}

impl Tries {
    /// They also end at this time.
    #[must_use]
    pub fn before(mut self, deadline: Instant) -> Tries {
        self.deadline = self.deadline.min(deadline);
        self
    }

    /// Waits for the next try, longer each time. False: it is time to give up.
    #[must_use]
    pub fn again(&mut self) -> bool {
        let wait = self.next;
        self.next = (wait * 2).min(self.longest);
        self.again_after(wait)
    }

    /// The same, for what passes by itself within a known time.
    #[must_use]
    pub fn again_after(&mut self, wait: Duration) -> bool {
        self.pulse.beat();
        if wait >= self.left(Instant::now()) {
            return false;
        }
        self.is_first = false;
        std::thread::sleep(wait);
        self.pulse.beat();
        true
    }

    /// What one call of this try may take, which has `timeout` if nothing was tried before.
    #[must_use]
    pub fn call(&self, timeout: Duration) -> Duration {
        self.pulse.beat();
        match self.is_first {
            true => timeout,
            false => timeout.min(self.left(Instant::now()).max(CALL_MIN)),
        }
    }

    fn left(&self, now: Instant) -> Duration {
        self.deadline.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn patience(first: u64, longest: u64, total: u64) -> Patience {
        Patience {
            first: Duration::from_millis(first),
            longest: Duration::from_millis(longest),
            total: Duration::from_millis(total),
            pulse: Pulse::default(),
        }
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut tries = patience(1, 5, 60_000).start();
        let waits = std::array::from_fn(|_| {
            let wait = tries.next.as_millis();
            assert!(tries.again());
            wait
        });
        assert_eq!(waits, [1, 2, 4, 5, 5]);
    }

    #[test]
    fn the_time_that_tries_take_counts() {
        let started = Instant::now();
        let mut tries = patience(1, 1, 200).start();
        let mut count = 0;
        while tries.again() {
            count += 1;
            std::thread::sleep(Duration::from_millis(60));
        }
        // Waits alone would make some two hundred of them, which take twelve seconds.
        assert!((1..=4).contains(&count), "{count}");
        assert!(started.elapsed() < Duration::from_secs(6));
    }

    #[test]
    fn a_call_ends_with_the_patience_but_the_first_has_its_time() {
        let long = Duration::from_secs(30);
        let mut tries = patience(1, 1, 10_000).start();
        assert_eq!(tries.call(long), long);
        assert!(tries.again());
        assert!(tries.call(long) <= Duration::from_secs(10));
        assert_eq!(tries.call(Duration::from_millis(5)).as_millis(), 5);
        let mut over = patience(1, 1, 10_000).start().before(Instant::now());
        assert!(!over.again());
    }

    #[test]
    fn no_patience_is_one_try() {
        assert!(!patience(1_000, 1_000, 0).start().again());
    }

    #[test]
    fn who_waits_or_calls_is_alive() {
        let beats = Arc::new(AtomicUsize::new(0));
        let counted = beats.clone();
        let pulse = Pulse::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let patience = Patience {
            pulse,
            ..patience(1, 1, 10_000)
        };
        let mut tries = patience.start();
        let _ = tries.call(Duration::ZERO);
        assert!(tries.again());
        let _ = tries.call(Duration::ZERO);
        // With each call, and at both ends of the wait.
        assert_eq!(beats.load(Ordering::Relaxed), 4);
    }
}
