//! Shadows: models that score the same events as the one that decides, and decide nothing.
//!
//! What they would have said is kept in the evidence, beside the decision. A shadow never costs a decision: an event on
//! which it fails has no opinion, and one that fails altogether is left out from then on, with a line in the log.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, RecordBatch, StringArray};
use tracing::error;

use crate::decide::CompiledPolicy;
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
    policy: CompiledPolicy,
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
    pub fn new(
        title: String,
        features: FeatureSet,
        model: Model,
        policy: CompiledPolicy,
    ) -> Shadow {
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
        // An event without a score gets one, and its decision is left out.
        let decidable: Vec<f32> = score.iter().map(|score| score.unwrap_or(0.0)).collect();
        let (decisions, _) = self.policy.decide(&decidable, events);
        let decisions = decisions.into_iter().zip(&score);
        Opinion {
            decision: decisions
                .map(|(decision, score)| score.map(|_| decision))
                .collect(),
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

#[cfg(test)]
mod tests {
    use arrow::array::Array as _;

    use super::*;
    use crate::decode::{Decoder, Format, Settings, UnknownFields};
    use crate::infer::testing::{fixture, runtime};
    use crate::infer::{Provider, Runtime};
    use crate::package::Package;
    use crate::schema::InputSchema;
    use crate::setup::definition;

    /// The fixture of texts without golden rows: nothing has shown yet that its model works.
    fn shadow(runtime: &Runtime, schema: &InputSchema) -> Shadow {
        let package = Package {
            golden: None,
            ..fixture("pipeline")
        };
        let definitions: Vec<_> = package.features.iter().map(definition).collect();
        let features = FeatureSet::compile(&definitions, schema.arrow()).unwrap();
        let model = Model::open(&package, runtime, &[Provider::Cpu]).unwrap();
        let policy = CompiledPolicy::compile(package.policy.clone(), schema.arrow()).unwrap();
        Shadow::new(package.title(), features, model, policy)
    }

    fn events(schema: &InputSchema, channels: &[&str]) -> RecordBatch {
        let values: Vec<String> = channels
            .iter()
            .map(|channel| {
                format!(
                    r#"{{"transaction_id":"t","event_time":1,"amount_minor":4250,"balance_minor":90000,
                        "channel":"{channel}","merchant_country":"DE"}}"#
                )
            })
            .collect();
        let settings = Settings {
            format: Format::Json,
            unknown_fields: UnknownFields::Reject,
            max_bytes: 4096,
            max_depth: 4,
            registry: Vec::new(),
        };
        let decoder = Decoder::new(schema, settings).unwrap();
        let decoded = decoder.decode(values.iter().map(|value| Some(value.as_bytes())));
        assert_eq!(decoded.rejected, vec![None; channels.len()]);
        decoded.events
    }

    fn schema() -> InputSchema {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/event.avsc");
        InputSchema::load(&path).unwrap()
    }

    #[test]
    fn an_event_on_which_a_shadow_fails_has_no_opinion() {
        let Some(runtime) = runtime("shadow::an_event_on_which_a_shadow_fails_has_no_opinion")
        else {
            return;
        };
        let schema = schema();
        let mut shadow = shadow(runtime, &schema);
        let said = shadow.judge(&events(&schema, &["online", "?", "online"]));
        assert!(said.score[0].is_some());
        assert_eq!(said.score[0], said.score[2]);
        assert_eq!((said.score[1], said.decision[1]), (None, None));
        let policy = shadow.policy.policy();
        let decision = policy.by_thresholds(said.score[0].unwrap());
        assert_eq!(said.decision[0], Some(decision));
        let [scores, decisions] = said.columns(|row| row == 0);
        assert_eq!((scores.null_count(), decisions.null_count()), (2, 2));
        assert!(scores.is_valid(2) && decisions.is_valid(2));
    }

    #[test]
    fn a_shadow_that_fails_altogether_is_left_out() {
        let Some(runtime) = runtime("shadow::a_shadow_that_fails_altogether_is_left_out") else {
            return;
        };
        let schema = schema();
        let mut shadow = shadow(runtime, &schema);
        for channels in [["?", "?"], ["online", "online"]] {
            let said = shadow.judge(&events(&schema, &channels));
            assert_eq!((said.score, said.decision), (vec![None; 2], vec![None; 2]));
        }
    }
}
