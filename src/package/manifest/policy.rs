//! `[policy]` and `[[policy.rule]]` of `model.toml`: thresholds, and rules that make decisions stricter.
//!
//! Does not know what a condition means: `setup` compiles it for the events.

use serde::Deserialize;
use toml::Spanned;

use super::Reader;
use super::about::DESCRIPTION_MAX_CHARS;
use crate::decide::{Policy, Rule};
use crate::error::Result;
use crate::record::Decision;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyTable {
    version: Spanned<String>,
    review: Spanned<f64>,
    decline: Spanned<f64>,
    #[serde(default)]
    rule: Vec<RuleTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleTable {
    name: Spanned<String>,
    when: Spanned<String>,
    decision: Spanned<String>,
    description: Option<Spanned<String>>,
}

impl Reader<'_> {
    pub(super) fn policy(&self, table: &PolicyTable) -> Result<Policy> {
        let version = self.plain_name("policy.version", &table.version)?;
        let policy = Policy::new(&version, *table.review.get_ref(), *table.decline.get_ref());
        let policy = policy.map_err(|bad| {
            let at = if bad.key == "review" {
                &table.review
            } else {
                &table.decline
            };
            self.refuse(at.span(), format!("`policy.{}`: {}", bad.key, bad.message))
        })?;
        let tables = &table.rule;
        let rules = tables.iter().map(|table| self.rule(table));
        let rules = rules.collect::<Result<_>>()?;
        policy.with_rules(rules).map_err(|bad| {
            let table = &tables[bad.rule];
            let at = if bad.key == "decision" {
                &table.decision
            } else {
                &table.name
            };
            let message = format!("`policy.rule.{}`: {}", bad.key, bad.message);
            self.refuse(at.span(), message)
        })
    }

    fn rule(&self, table: &RuleTable) -> Result<Rule> {
        let name = table.name.get_ref();
        if table.when.get_ref().trim().is_empty() {
            let message = format!(
                "rule `{name}` has no condition; write one over the event's columns, like amount_minor > 500000"
            );
            return Err(self.refuse(table.when.span(), message));
        }
        let decision = Decision::parse(table.decision.get_ref()).ok_or_else(|| {
            let message = format!(
                "`decision` of rule `{name}` is {:?}; write `review` or `decline`",
                table.decision.get_ref()
            );
            self.refuse(table.decision.span(), message)
        })?;
        let what = format!("`description` of rule `{name}`");
        let description = table.description.as_ref();
        let description = description.map(|text| self.one_line(&what, text, DESCRIPTION_MAX_CHARS));
        Ok(Rule {
            name: name.clone(),
            when: table.when.get_ref().clone(),
            decision,
            description: description.transpose()?,
        })
    }
}
