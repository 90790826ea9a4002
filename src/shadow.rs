//! Shadows: models that score the same events as the one that decides, and decide nothing.
//!
//! What they would have said is kept in the evidence, beside the decision. A shadow never costs a decision: an event on
//! which it fails has no opinion, and one that fails altogether is left out from then on, with a line in the log.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, RecordBatch, StringArray};
use tracing::error;

use crate::decide::Policy;
use crate::features::FeatureSet;
use crate::infer::Model;
use crate::record::Decision;

/// Each costs as much as the model that decides.
pub const SHADOWS_MAX: usize = 4;

/// One of them. Belongs to one lane.
pub struct Shadow {
    title: String,
    features: FeatureSet,
    model: Model,
    policy: Policy,
    /// It failed altogether.
    is_broken: bool,
}

/// What a shadow says of the rows of a batch; nothing where it failed.
#[derive(Clone, PartialEq, Debug)]
pub struct Opinion {
    pub score: Vec<Option<f32>>,
    pub decision: Vec<Option<Decision>>,
}

impl Opinion {
    /// The columns of evidence; null in rows that are `empty`.
    #[must_use]
    pub fn columns(&self, empty: impl Fn(usize) -> bool) -> [ArrayRef; 2] {
        let rows = || (0..self.score.len()).map(|row| (!empty(row)).then_some(row));
        let scores = rows().map(|row| self.score[row?]);
        let decisions = rows().map(|row| self.decision[row?].map(Decision::as_str));
        [
            Arc::new(scores.collect::<Float32Array>()),
            Arc::new(decisions.collect::<StringArray>()),
        ]
    }
}

impl Shadow {
    #[must_use]
    pub fn new(title: String, features: FeatureSet, model: Model, policy: Policy) -> Shadow {
        Shadow {
            title,
            features,
            model,
            policy,
            is_broken: false,
        }
    }

    /// What it says of these events.
    #[must_use]
    pub fn judge(&mut self, events: &RecordBatch) -> Opinion {
        let score = self.score(events);
        let decide = |score: &Option<f32>| score.map(|score| self.policy.decide_one(score));
        Opinion {
            decision: score.iter().map(decide).collect(),
            score,
        }
    }

    fn score(&mut self, events: &RecordBatch) -> Vec<Option<f32>> {
        let nothing = vec![None; events.num_rows()];
        if self.is_broken {
            return nothing;
        }
        match self.model.run(&self.features.complete(events).columns) {
            Ok(scored) => {
                let rows = scored.score.iter().zip(&scored.rejected);
                rows.map(|(score, rejected)| rejected.is_none().then_some(*score))
                    .collect()
            }
            Err(fatal) => {
                error!(shadow = self.title, %fatal, "a shadow is left out from now on");
                self.is_broken = true;
                nothing
            }
        }
    }
}
