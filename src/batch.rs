//! The rows of one round on their way through the stages.
//!
//! A [`Batch`] pairs what a stage made of the rows with their [`Lineage`]: where each came from and
//! whether it was refused. A stage is a function from one payload to the next; [`Batch::map`] asserts
//! that it kept every row, in order, so no stage can lose an offset. Each payload contains the one
//! before it, so the last one explains the decision.

use crate::record::{Gap, NextOffset, Offset, Rejection};

/// Where one row came from.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Origin {
    /// A record of the input, with the broker's time in µs and the epoch of its leader, if it has them.
    Record {
        offset: Offset,
        broker_time: Option<i64>,
        leader_epoch: Option<i32>,
    },
    /// Offsets without an event.
    Gap(Gap),
}

impl Origin {
    #[must_use]
    pub fn first(&self) -> Offset {
        match self {
            Origin::Record { offset, .. } => *offset,
            Origin::Gap(gap) => gap.first,
        }
    }

    #[must_use]
    pub fn next(&self) -> NextOffset {
        match self {
            Origin::Record { offset, .. } => offset.next(),
            Origin::Gap(gap) => gap.next,
        }
    }
}

/// The rows of one partition: contiguous in the batch, and tiling a range of offsets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    pub partition: i32,
    pub rows: std::ops::Range<usize>,
}

/// Where every row of a batch came from and whether it was refused.
#[derive(Clone, Debug, Default)]
pub struct Lineage {
    origins: Vec<Origin>,
    rejections: Vec<Option<Rejection>>,
    parts: Vec<Part>,
}

impl Lineage {
    /// Adds the rows of a partition.
    ///
    /// # Panics
    /// When they do not tile a range of offsets.
    pub fn push_part(&mut self, partition: i32, origins: impl IntoIterator<Item = Origin>) {
        let start = self.origins.len();
        self.origins.extend(origins);
        let rows = start..self.origins.len();
        let joins = self.origins[rows.clone()]
            .windows(2)
            .all(|p| p[0].next().0 == p[1].first().0);
        assert!(
            joins && !rows.is_empty(),
            "rows of a partition must tile a range of offsets"
        );
        self.rejections.resize(rows.end, None);
        self.parts.push(Part { partition, rows });
    }

    #[must_use]
    pub fn rows(&self) -> usize {
        self.origins.len()
    }

    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    #[must_use]
    pub fn origins(&self) -> &[Origin] {
        &self.origins
    }

    #[must_use]
    pub fn rejection(&self, row: usize) -> Option<Rejection> {
        self.rejections[row]
    }

    /// Whether the row is an event that nothing refused so far.
    #[must_use]
    pub fn is_live(&self, row: usize) -> bool {
        matches!(self.origins[row], Origin::Record { .. }) && self.rejections[row].is_none()
    }

    /// Refuses a row. The first refusal stands, and a gap cannot be refused.
    pub fn reject(&mut self, row: usize, rejection: Rejection) {
        if self.is_live(row) {
            self.rejections[row] = Some(rejection);
        }
    }

    /// Refuses what a stage refused.
    ///
    /// # Panics
    /// When the stage has lost a row.
    pub fn reject_all(&mut self, rejections: &[Option<Rejection>]) {
        assert_eq!(rejections.len(), self.rows(), "a stage has lost a row");
        for (row, rejection) in rejections.iter().enumerate() {
            if let Some(rejection) = rejection {
                self.reject(row, *rejection);
            }
        }
    }
}

/// What a stage made of the rows of a batch.
pub trait Payload {
    fn rows(&self) -> usize;
}

/// A payload and where its rows came from.
pub struct Batch<P> {
    lineage: Lineage,
    payload: P,
}

impl<P: Payload> Batch<P> {
    /// # Panics
    /// When the payload has not one row for each of the lineage's.
    pub fn new(lineage: Lineage, payload: P) -> Batch<P> {
        assert_eq!(payload.rows(), lineage.rows(), "a stage has lost a row");
        Batch { lineage, payload }
    }

    /// Goes through one stage.
    ///
    /// # Panics
    /// When the stage has lost a row.
    pub fn map<Q: Payload>(mut self, stage: impl FnOnce(&mut Lineage, P) -> Q) -> Batch<Q> {
        let payload = stage(&mut self.lineage, self.payload);
        Batch::new(self.lineage, payload)
    }

    pub fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    pub fn lineage_mut(&mut self) -> &mut Lineage {
        &mut self.lineage
    }

    pub fn payload(&self) -> &P {
        &self.payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Reason, Stage};

    struct Count(usize);
    impl Payload for Count {
        fn rows(&self) -> usize {
            self.0
        }
    }

    fn lineage() -> Lineage {
        let mut lineage = Lineage::default();
        let record = |offset| Origin::Record {
            offset: Offset(offset),
            broker_time: None,
            leader_epoch: None,
        };
        let gap = Origin::Gap(Gap {
            first: Offset(6),
            next: NextOffset(9),
        });
        lineage.push_part(3, [record(5), gap, record(9)]);
        lineage
    }

    #[test]
    #[should_panic(expected = "lost a row")]
    fn a_stage_that_drops_a_row_is_a_bug() {
        let _ = Batch::new(lineage(), Count(3)).map(|_, Count(n)| Count(n - 1));
    }

    #[test]
    #[should_panic(expected = "tile")]
    fn a_hole_between_rows_is_a_bug() {
        let record = |offset| Origin::Record {
            offset: Offset(offset),
            broker_time: None,
            leader_epoch: None,
        };
        Lineage::default().push_part(0, [record(1), record(3)]);
    }

    #[test]
    fn the_first_refusal_stands_and_gaps_are_never_refused() {
        let mut lineage = lineage();
        let malformed = Rejection::new(Stage::Decode, Reason::Malformed);
        let failed = Rejection::new(Stage::Infer, Reason::InferenceFailed);
        lineage.reject_all(&[Some(malformed), Some(malformed), None]);
        lineage.reject(0, failed);
        assert_eq!(lineage.rejection(0), Some(malformed));
        assert_eq!(lineage.rejection(1), None);
        assert!(lineage.is_live(2) && !lineage.is_live(1) && !lineage.is_live(0));
    }
}
