//! Where the time of a batch goes: a stopwatch that every step of a round presses once.
//!
//! For metrics alone. No time that is taken here reaches a decision or a record.

use std::time::{Duration, Instant};

/// A step of a round, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    Gather,
    Decode,
    Features,
    Infer,
    Decide,
    Explain,
    Shadow,
    Evidence,
    Publish,
    Commit,
}

impl Step {
    pub const ALL: [Step; 10] = [
        Step::Gather,
        Step::Decode,
        Step::Features,
        Step::Infer,
        Step::Decide,
        Step::Explain,
        Step::Shadow,
        Step::Evidence,
        Step::Publish,
        Step::Commit,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Step::Gather => "gather",
            Step::Decode => "decode",
            Step::Features => "features",
            Step::Infer => "infer",
            Step::Decide => "decide",
            Step::Explain => "explain",
            Step::Shadow => "shadow",
            Step::Evidence => "evidence",
            Step::Publish => "publish",
            Step::Commit => "commit",
        }
    }
}

/// How long each step of one round took.
#[derive(Clone, Debug)]
pub struct Laps {
    last: Instant,
    times: [Duration; Step::ALL.len()],
}

impl Laps {
    /// Starts the clock.
    #[must_use]
    pub fn start() -> Laps {
        Laps {
            last: Instant::now(),
            times: [Duration::ZERO; Step::ALL.len()],
        }
    }

    /// One step that took so long.
    #[cfg(test)]
    pub fn of(step: Step, time: Duration) -> Laps {
        let mut laps = Laps::start();
        laps.times[step as usize] = time;
        laps
    }

    /// A step has ended: it took what passed since the one before.
    pub fn end(&mut self, step: Step) {
        let now = Instant::now();
        self.times[step as usize] += now - self.last;
        self.last = now;
    }

    /// Every step with its time, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Step, Duration)> + '_ {
        Step::ALL.into_iter().zip(self.times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_divide_the_time_among_them() {
        let mut laps = Laps::start();
        let start = laps.last;
        for step in [Step::Gather, Step::Infer, Step::Commit] {
            laps.end(step);
        }
        let all: Duration = laps.iter().map(|(_, time)| time).sum();
        assert_eq!(all, laps.last - start);
        let decode = laps.iter().find(|(step, _)| *step == Step::Decode);
        assert_eq!(decode, Some((Step::Decode, Duration::ZERO)));
    }
}
