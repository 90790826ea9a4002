//! The rules of a policy: names, conditions as they are written, and the decisions that they ask for.
//!
//! Knows the text of a condition and not what it means. Promises that a policy's rules have distinct plain
//! names and make nothing milder, wherever they come from: `model.toml` or an archive.

use crate::record::Decision;

/// A name of a rule is a label of a metric, and each condition is asked of each event: so they are few.
pub const RULES_MAX: usize = 64;
pub(crate) const NAME_MAX_BYTES: usize = 64;

/// A rule: where its condition holds, the decision is at least this strict.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    pub name: String,
    /// SQL over the event's columns. NULL is not met.
    pub when: String,
    pub decision: Decision,
    /// For people. It changes no decision, and is not in the policy's text.
    pub description: Option<String>,
}

/// A rule that cannot be: its place, from 0; its key; and what is wrong with it.
#[derive(PartialEq, Debug)]
pub struct BadRule {
    pub rule: usize,
    pub key: &'static str,
    pub message: String,
}

impl Rule {
    /// One line. JSON keeps a condition of several lines on it.
    pub(super) fn canonical(&self) -> String {
        let when = serde_json::to_string(&self.when).expect("a text is JSON");
        format!("rule {} {} {when}\n", self.name, self.decision.as_str())
    }

    /// Reads a line of [`Rule::canonical`], and others that mean the same.
    pub(super) fn parse(line: &str) -> Option<Rule> {
        let (name, rest) = line.strip_prefix("rule ")?.split_once(' ')?;
        let (decision, when) = rest.split_once(' ')?;
        Some(Rule {
            name: name.to_owned(),
            when: serde_json::from_str(when).ok()?,
            decision: Decision::parse(decision)?,
            description: None,
        })
    }
}

pub(super) fn check(rules: &[Rule]) -> Result<(), BadRule> {
    for (at, rule) in rules.iter().enumerate() {
        let refuse = |key, message| {
            Err(BadRule {
                rule: at,
                key,
                message,
            })
        };
        let name = &rule.name;
        if at == RULES_MAX {
            let message = format!("{} rules; write at most {RULES_MAX}", rules.len());
            return refuse("name", message);
        }
        if !is_plain(name) {
            let message = format!(
                "{name:?}; write 1 to {NAME_MAX_BYTES} ASCII letters, digits, `.`, `_`, `+` or `-`"
            );
            return refuse("name", message);
        }
        if rules[..at].iter().any(|other| other.name == *name) {
            let message = format!("a second rule has the name `{name}`; rename one");
            return refuse("name", message);
        }
        if rule.decision == Decision::Approve {
            let message = format!(
                "rule `{name}` says `approve`, and a rule makes no decision milder; write `review` or `decline`"
            );
            return refuse("decision", message);
        }
    }
    Ok(())
}

/// Names stand in records, metrics and lines of text, so they are one plain word.
pub(crate) fn is_plain(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    (1..=NAME_MAX_BYTES).contains(&name.len()) && name.chars().all(is_plain)
}
