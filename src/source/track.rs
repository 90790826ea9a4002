//! What the records of one partition must satisfy before they are believed.
//!
//! The client hides control and aborted records, so offsets have holes, and a hole looks exactly like
//! a record that was lost by a seek that failed. A hole is therefore a gap only between two records
//! that nothing disturbed; after a seek, an assignment or an error, the first record must stand where
//! it was sought, or another seek must find it a second time. Only the lowest record found is waited
//! for: a seek that fails goes on behind the record before it, so it can find none twice, and a seek
//! that worked is not forgotten because the next one failed. Pure: no client, no clock.

use crate::record::{Gap, NextOffset, Offset};

/// How often a partition is sought again before it is given up.
const SEEKS_MAX: u32 = 8;

/// The state of one partition.
#[derive(Clone, Debug)]
pub struct Track {
    expected: NextOffset,
    trust: Trust,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trust {
    /// The record before was delivered and nothing happened since.
    Steady,
    /// Sought, assigned or disturbed; `found` is the lowest record that the tries have found there.
    Sought { found: Option<Offset>, tries: u32 },
}

/// What is to be done with a delivered record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// It is next; before it the offsets of the gap hold no event.
    Take { gap: Option<Gap> },
    /// It may have skipped something: seek to [`Track::expected`] and look again.
    SeekAgain,
    /// It was prefetched before the seek: forget it.
    Drop,
    /// The log contradicts itself: give the partition up.
    Refuse(Disorder),
}

/// How a log contradicts itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disorder {
    /// A record came again although nothing was sought.
    WentBack { expected: NextOffset, found: Offset },
    /// Each seek finds another record.
    NeverSettles { sought: NextOffset },
}

impl Track {
    /// A partition that was assigned at `start`.
    #[must_use]
    pub fn sought(start: NextOffset) -> Track {
        Track {
            expected: start,
            trust: Trust::Sought {
                found: None,
                tries: 0,
            },
        }
    }

    /// Where the next record is expected.
    #[must_use]
    pub fn expected(&self) -> NextOffset {
        self.expected
    }

    /// A seek to `target` was carried out. Seeking again to the same place keeps what was found there.
    pub fn on_seek(&mut self, target: NextOffset) {
        if target != self.expected || self.trust == Trust::Steady {
            *self = Track::sought(target);
        }
    }

    /// The client reported an error, or was paused: something may have been skipped.
    pub fn on_disturbance(&mut self) {
        self.on_seek(self.expected);
    }

    /// A record was delivered.
    pub fn on_record(&mut self, offset: Offset) -> Step {
        let expected = self.expected.expected();
        let believed = match self.trust {
            _ if offset == expected => true,
            Trust::Steady if offset < expected => {
                let expected = self.expected;
                return Step::Refuse(Disorder::WentBack {
                    expected,
                    found: offset,
                });
            }
            Trust::Steady => true,
            Trust::Sought { .. } if offset < expected => return Step::Drop,
            Trust::Sought { found, .. } => found == Some(offset),
        };
        if !believed {
            return self.doubt(offset);
        }
        let gap = (offset > expected).then_some(Gap {
            first: expected,
            next: NextOffset(offset.0),
        });
        self.expected = offset.next();
        self.trust = Trust::Steady;
        Step::Take { gap }
    }

    fn doubt(&mut self, offset: Offset) -> Step {
        let Trust::Sought { found, tries } = self.trust else {
            unreachable!("a steady track believes or refuses");
        };
        if tries == SEEKS_MAX {
            return Step::Refuse(Disorder::NeverSettles {
                sought: self.expected,
            });
        }
        self.trust = Trust::Sought {
            found: Some(found.map_or(offset, |lowest| lowest.min(offset))),
            tries: tries + 1,
        };
        Step::SeekAgain
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn take(gap: Option<(i64, i64)>) -> Step {
        Step::Take {
            gap: gap.map(|(a, b)| Gap {
                first: Offset(a),
                next: NextOffset(b),
            }),
        }
    }

    #[test]
    fn a_hole_between_two_undisturbed_records_is_a_gap() {
        let mut track = Track::sought(NextOffset(5));
        assert_eq!(track.on_record(Offset(5)), take(None));
        assert_eq!(track.on_record(Offset(8)), take(Some((6, 8))));
        assert_eq!(track.on_record(Offset(9)), take(None));
    }

    #[test]
    fn a_hole_after_a_seek_is_believed_only_when_found_twice() {
        let mut track = Track::sought(NextOffset(5));
        assert_eq!(track.on_record(Offset(7)), Step::SeekAgain);
        track.on_seek(NextOffset(5));
        assert_eq!(track.on_record(Offset(7)), take(Some((5, 7))));
    }

    #[test]
    fn a_rewind_that_failed_is_not_a_gap() {
        // Ten to nineteen were gathered and aborted; the seek back to ten was lost.
        let mut track = Track::sought(NextOffset(20));
        track.on_seek(NextOffset(10));
        assert_eq!(track.on_record(Offset(20)), Step::SeekAgain);
        track.on_seek(NextOffset(10));
        assert_eq!(track.on_record(Offset(10)), take(None));
    }

    #[test]
    fn a_disturbance_makes_a_hole_doubtful_but_not_the_next_record() {
        let mut track = Track::sought(NextOffset(0));
        assert_eq!(track.on_record(Offset(0)), take(None));
        track.on_disturbance();
        assert_eq!(track.clone().on_record(Offset(1)), take(None));
        assert_eq!(track.on_record(Offset(2)), Step::SeekAgain);
    }

    #[test]
    fn prefetched_records_are_dropped_after_a_seek_and_refused_without_one() {
        let mut track = Track::sought(NextOffset(5));
        assert_eq!(track.on_record(Offset(3)), Step::Drop);
        assert_eq!(track.on_record(Offset(5)), take(None));
        assert!(matches!(
            track.on_record(Offset(5)),
            Step::Refuse(Disorder::WentBack { .. })
        ));
    }

    #[test]
    fn every_other_seek_may_fail() {
        // The log holds 1 and 2; a seek that fails goes on behind 1.
        let mut track = Track::sought(NextOffset(0));
        let mut deliver = |offset| {
            track.on_seek(NextOffset(0));
            track.on_record(Offset(offset))
        };
        assert_eq!(deliver(1), Step::SeekAgain);
        assert_eq!(deliver(2), Step::SeekAgain);
        assert_eq!(deliver(1), take(Some((0, 1))));
    }

    #[test]
    fn a_log_that_never_settles_is_given_up() {
        let mut track = Track::sought(NextOffset(0));
        let mut steps = (1..100).map(|n| {
            track.on_seek(NextOffset(0));
            track.on_record(Offset(n))
        });
        assert!(steps.any(|step| matches!(step, Step::Refuse(Disorder::NeverSettles { .. }))));
    }

    proptest! {
        /// A client that loses seeks, as long as not twice in a row, loses no record.
        #[test]
        fn every_record_is_taken_once_and_every_gap_is_true(
            holes in prop::collection::vec(0i64..4, 1..60),
            events in prop::collection::vec(0u8..10, 0..200),
        ) {
            // The log: a record after each hole of so many hidden offsets.
            let log: Vec<i64> = holes.iter().scan(-1, |at, hole| { *at += hole + 1; Some(*at) }).collect();
            let end = log.last().unwrap() + 1;
            let mut track = Track::sought(NextOffset(0));
            let (mut cursor, mut seek_lost) = (0i64, false);
            let mut taken = Vec::new();
            let mut covered = 0;
            let mut events = events.into_iter();
            let mut seek = |cursor: &mut i64, to: NextOffset, lose: bool| {
                let lost = lose && !seek_lost;
                seek_lost = lost;
                if !lost { *cursor = to.0 }
            };
            while covered < end {
                let event = events.next().unwrap_or(9);
                if event == 0 {
                    // An abort: what was taken since is taken again.
                    let back = NextOffset(covered - covered.min(3));
                    taken.retain(|&o| o < back.0);
                    covered = back.0;
                    track.on_seek(back);
                    seek(&mut cursor, back, false);
                    continue;
                }
                if event == 1 { track.on_disturbance(); }
                let Some(&next) = log.iter().find(|&&o| o >= cursor) else {
                    seek(&mut cursor, track.expected(), false);
                    track.on_seek(track.expected());
                    continue;
                };
                cursor = next + 1;
                match track.on_record(Offset(next)) {
                    Step::Take { gap } => {
                        if let Some(gap) = gap {
                            prop_assert_eq!(gap.first.0, covered);
                            prop_assert!(!log.iter().any(|o| (gap.first.0..gap.next.0).contains(o)));
                            covered = gap.next.0;
                        }
                        prop_assert_eq!(covered, next);
                        taken.push(next);
                        covered += 1;
                    }
                    Step::SeekAgain => {
                        let to = track.expected();
                        track.on_seek(to);
                        seek(&mut cursor, to, event == 2);
                    }
                    Step::Drop => {}
                    Step::Refuse(disorder) => prop_assert!(false, "{disorder:?}"),
                }
            }
            prop_assert_eq!(taken, log);
        }
    }
}
