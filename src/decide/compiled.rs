//! A policy that is ready to decide: its conditions compiled for events of one schema.
//!
//! Promises that the decision on a row is a function of its score and its event alone, to the bit, and never
//! milder than what the thresholds make of the score. Without rules an event is not looked at.

use std::sync::Arc;

use arrow::array::{Array as _, BooleanArray, RecordBatch};
use arrow::datatypes::Schema;

use super::{Policy, Rule};
use crate::features::{Condition, ExprError};
use crate::record::Decision;

/// A policy with its conditions, in the order of its rules.
#[derive(Debug)]
pub struct CompiledPolicy {
    policy: Policy,
    conditions: Vec<Condition>,
    names: Arc<[String]>,
}

/// Which rule decided each row of a batch: the first, in the policy's order, that asks for the row's decision,
/// where that is stricter than what the thresholds make of its score.
#[derive(Clone, Default, Debug)]
pub struct Ruled {
    names: Arc<[String]>,
    /// By row, the place of the rule. Empty if the policy has no rules.
    rows: Vec<Option<u8>>,
}

impl CompiledPolicy {
    /// Compiles the rules of `policy` for events of schema `events`.
    ///
    /// # Errors
    /// One for each rule whose condition has a wrong grammar or wrong types, or is not boolean.
    pub fn compile(policy: Policy, events: &Schema) -> Result<CompiledPolicy, Vec<ExprError>> {
        let mut conditions = Vec::with_capacity(policy.rules().len());
        let mut errors = Vec::new();
        for Rule { name, when, .. } in policy.rules() {
            match Condition::compile(when, events) {
                Ok(condition) => conditions.push(condition),
                Err(error) => errors.push(ExprError {
                    subject: format!("rule `{name}`"),
                    ..error
                }),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let names = policy.rules().iter().map(|rule| rule.name.clone());
        Ok(CompiledPolicy {
            names: names.collect(),
            policy,
            conditions,
        })
    }

    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Which columns of the events each rule reads, by index.
    pub fn reads(&self) -> impl Iterator<Item = (&Rule, usize)> {
        let rules = self.policy.rules().iter().zip(&self.conditions);
        rules.flat_map(|(rule, condition)| condition.reads().map(move |index| (rule, index)))
    }

    /// The decision on each row, and which rule made it, where one did.
    ///
    /// # Panics
    /// If a score is not finite; where there are rules, if there is not one event for each score, or a
    /// column is of another type than in the schema.
    #[must_use]
    pub fn decide(&self, scores: &[f32], events: &RecordBatch) -> (Vec<Decision>, Ruled) {
        let by_thresholds = |score: &f32| self.policy.by_thresholds(*score);
        let mut decisions: Vec<Decision> = scores.iter().map(by_thresholds).collect();
        let mut ruled = Ruled::default();
        if self.conditions.is_empty() {
            return (decisions, ruled);
        }
        assert_eq!(events.num_rows(), scores.len(), "one event for each score");
        ruled.names = self.names.clone();
        ruled.rows = vec![None; scores.len()];
        let rules = self.policy.rules().iter().zip(&self.conditions);
        for (place, (rule, condition)) in rules.enumerate() {
            let place = u8::try_from(place).expect("rules are few");
            for row in met(&condition.evaluate(events)) {
                // Of two rules that ask for the same, the first has it.
                if rule.decision > decisions[row] {
                    decisions[row] = rule.decision;
                    ruled.rows[row] = Some(place);
                }
            }
        }
        (decisions, ruled)
    }
}

/// The rows in which a condition is TRUE; where it is unknown it is not met.
fn met(condition: &BooleanArray) -> impl Iterator<Item = usize> + '_ {
    let rows = condition.values().set_indices();
    rows.filter(|row| condition.is_valid(*row))
}

impl Ruled {
    /// The name of the rule that decided the row; none where the thresholds did.
    #[must_use]
    pub fn of(&self, row: usize) -> Option<&str> {
        let place = (*self.rows.get(row)?)?;
        Some(&self.names[usize::from(place)])
    }
}
