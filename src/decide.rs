//! What a score means: approve, review or decline, by the versioned policy of the model package.
//!
//! A policy has two thresholds and may have rules. A score is widened to 64 bits, which is exact, and compared
//! with the threshold as it was read; so anyone can repeat that from the score's bits and the policy. A
//! rule makes a decision stricter where its condition holds, and never milder: no event gets a milder
//! decision than its score asks for. Knows nothing of models; what a condition says of an event is
//! asked by [`compiled`] alone.

pub mod compiled;
mod rules;
#[cfg(test)]
mod tests;

use crate::record::{Decision, Digest};

pub use compiled::{CompiledPolicy, Ruled};
pub use rules::{BadRule, RULES_MAX, Rule};
pub(crate) use rules::{NAME_MAX_BYTES, is_plain};

/// The thresholds and the rules of one model package.
#[derive(Clone, PartialEq, Debug)]
pub struct Policy {
    version: String,
    review: f64,
    decline: f64,
    rules: Vec<Rule>,
}

/// A threshold that cannot be: its key, and what is wrong with it.
#[derive(PartialEq, Debug)]
pub struct BadThreshold {
    pub key: &'static str,
    pub message: String,
}

/// What a row says of its decision.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Claim<'a> {
    pub decision: Option<&'a str>,
    pub threshold: Option<f64>,
    /// The rule that is said to have decided.
    pub rule: Option<&'a str>,
}

impl Policy {
    /// `review` is the lowest probability that is reviewed, `decline` the lowest that is declined. With the
    /// two equal no score is reviewed.
    ///
    /// # Errors
    /// If one is no probability, or `decline` is below `review`.
    pub fn new(version: &str, review: f64, decline: f64) -> Result<Policy, BadThreshold> {
        for (key, threshold) in [("review", review), ("decline", decline)] {
            if !(0.0..=1.0).contains(&threshold) {
                let message = format!("{threshold} is no probability; write a number from 0 to 1");
                return Err(BadThreshold { key, message });
            }
        }
        if decline < review {
            let message = format!("{decline} is below `review` = {review}; exchange the two");
            return Err(BadThreshold {
                key: "decline",
                message,
            });
        }
        // Minus zero is zero, and must have its text and its digest.
        Ok(Policy {
            version: version.to_owned(),
            review: review + 0.0,
            decline: decline + 0.0,
            rules: Vec::new(),
        })
    }

    /// With these rules, in this order, instead of those that it has.
    ///
    /// # Errors
    /// If they are too many, or one has no plain name, the name of another, or a decision that makes
    /// nothing stricter.
    pub fn with_rules(self, rules: Vec<Rule>) -> Result<Policy, BadRule> {
        rules::check(&rules)?;
        Ok(Policy { rules, ..self })
    }

    /// Names this policy in every scored record and every row of evidence.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// In the package's order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule of this name.
    #[must_use]
    pub fn rule(&self, name: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.name == name)
    }

    /// The decision that the thresholds make of a score. A rule may make it stricter.
    ///
    /// # Panics
    /// If the score is not finite: such a row was rejected before, and must never be approved by comparison.
    #[must_use]
    pub fn by_thresholds(&self, score: f32) -> Decision {
        assert!(
            score.is_finite(),
            "a score that is not finite reached the policy"
        );
        let score = f64::from(score);
        if score >= self.decline {
            Decision::Decline
        } else if score >= self.review {
            Decision::Review
        } else {
            Decision::Approve
        }
    }

    /// The lowest score that gets this decision by the thresholds, and so the threshold that such a score
    /// reached; none for an approval, which is what is left below the others.
    #[must_use]
    pub fn threshold(&self, decision: Decision) -> Option<f64> {
        match decision {
            Decision::Decline => Some(self.decline),
            Decision::Review => Some(self.review),
            Decision::Approve => None,
        }
    }

    /// Whether a row with this score may say this of its decision: what the thresholds make of the score, or
    /// what a rule makes stricter. Whether the condition of a rule was met is not asked, which needs
    /// the event.
    ///
    /// # Panics
    /// As [`Policy::by_thresholds`].
    #[must_use]
    pub fn allows(&self, score: f32, claim: Claim<'_>) -> bool {
        let bits = |threshold: Option<f64>| threshold.map(f64::to_bits);
        let by_score = self.by_thresholds(score);
        let Some(name) = claim.rule else {
            return claim.decision == Some(by_score.as_str())
                && bits(claim.threshold) == bits(self.threshold(by_score));
        };
        let is_stricter = |rule: &Rule| {
            rule.decision > by_score && claim.decision == Some(rule.decision.as_str())
        };
        claim.threshold.is_none() && self.rule(name).is_some_and(is_stricter)
    }

    /// Reads what [`Policy::canonical`] writes. None for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Policy> {
        let mut lines = text.lines();
        let mut value = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(' ');
        value("probity policy")?;
        let version = value("version")?;
        let (review, decline) = (
            value("review")?.parse().ok()?,
            value("decline")?.parse().ok()?,
        );
        let rules = lines.map(Rule::parse).collect::<Option<_>>()?;
        let policy = Policy::new(version, review, decline).ok()?;
        let policy = policy.with_rules(rules).ok()?;
        (policy.canonical() == text).then_some(policy)
    }

    /// The policy as text, the same for every way to write it in `model.toml`: what is archived, and
    /// what [`Policy::digest`] hashes. Thresholds are the shortest decimals that read back as the same number.
    #[must_use]
    pub fn canonical(&self) -> String {
        let form = if self.rules.is_empty() { 1 } else { 2 };
        let thresholds = format!(
            "probity policy {form}\nversion {}\nreview {}\ndecline {}\n",
            self.version, self.review, self.decline
        );
        thresholds + &self.rules.iter().map(Rule::canonical).collect::<String>()
    }

    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.canonical().as_bytes())
    }
}
