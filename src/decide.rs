//! What a score means: approve, review or decline, by the versioned thresholds of the model package.
//!
//! Knows nothing of models or events. A score is widened to 64 bits, which is exact, and compared with
//! the threshold as it was read; so anyone can repeat a decision from the score's bits and the policy.

use crate::record::{Decision, Digest};

/// The thresholds of one model package.
#[derive(Clone, PartialEq, Debug)]
pub struct Policy {
    version: String,
    review: f64,
    decline: f64,
}

/// A threshold that cannot be: its key, and what is wrong with it.
#[derive(PartialEq, Debug)]
pub struct BadThreshold {
    pub key: &'static str,
    pub message: String,
}

impl Policy {
    /// `review` is the lowest probability that is reviewed, `decline` the lowest that is declined. With the
    /// two equal nothing is reviewed.
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
        })
    }

    /// Names these thresholds in every scored record and every row of evidence.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The decision on each score, in order.
    ///
    /// # Panics
    /// If a score is not finite: such a row was rejected before, and must never be approved by comparison.
    #[must_use]
    pub fn decide(&self, scores: &[f32]) -> Vec<Decision> {
        scores.iter().map(|score| self.decide_one(*score)).collect()
    }

    /// The decision on one score.
    ///
    /// # Panics
    /// As [`Policy::decide`].
    #[must_use]
    pub fn decide_one(&self, score: f32) -> Decision {
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

    /// The lowest score that gets this decision, and so the threshold that such a score reached; none for
    /// an approval, which is what is left below the others.
    #[must_use]
    pub fn threshold(&self, decision: Decision) -> Option<f64> {
        match decision {
            Decision::Decline => Some(self.decline),
            Decision::Review => Some(self.review),
            Decision::Approve => None,
        }
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
        let policy = Policy::new(version, review, decline).ok()?;
        (policy.canonical() == text).then_some(policy)
    }

    /// The policy as text, the same for every way to write it in `model.toml`: what is archived, and
    /// what [`Policy::digest`] hashes. Thresholds are the shortest decimals that read back as the same number.
    #[must_use]
    pub fn canonical(&self) -> String {
        format!(
            "probity policy 1\nversion {}\nreview {}\ndecline {}\n",
            self.version, self.review, self.decline
        )
    }

    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.canonical().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(review: f64, decline: f64) -> Policy {
        Policy::new("1", review, decline).unwrap()
    }

    #[test]
    fn a_policy_is_read_from_its_text_and_from_no_other() {
        let written = policy(0.1, 0.75);
        let text = written.canonical();
        assert_eq!(Policy::parse(&text), Some(written));
        for wrong in [
            text.replace("0.75", "0.750"),
            text.replace("0.75", "7"),
            text.replace("policy 1", "policy 2"),
            format!("{text}\n"),
            String::new(),
        ] {
            assert_eq!(Policy::parse(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_score_at_a_threshold_is_over_it() {
        let policy = policy(0.5, 0.75);
        let below = |threshold: f32| f32::from_bits(threshold.to_bits() - 1);
        let scores = [0.0, below(0.5), 0.5, below(0.75), 0.75, 1.0];
        use Decision::{Approve, Decline, Review};
        assert_eq!(
            policy.decide(&scores),
            [Approve, Approve, Review, Review, Decline, Decline]
        );
    }

    #[test]
    fn thresholds_are_compared_in_64_bits() {
        // 0.9 rounded to 32 bits is less than 0.9, and 0.1 rounded is more than 0.1.
        assert_eq!(
            policy(0.1, 0.9).decide(&[0.9, 0.1]),
            [Decision::Review, Decision::Review]
        );
    }

    #[test]
    #[should_panic(expected = "not finite")]
    fn a_nan_is_never_approved() {
        let _ = policy(0.5, 0.9).decide(&[f32::NAN]);
    }

    #[test]
    fn thresholds_out_of_order_or_range_are_refused() {
        let refused = |review, decline| Policy::new("1", review, decline).unwrap_err().key;
        assert_eq!(refused(0.9, 0.5), "decline");
        assert_eq!(refused(-0.1, 0.5), "review");
        assert_eq!(refused(0.1, 1.5), "decline");
        assert_eq!(refused(f64::NAN, 0.5), "review");
        assert!(Policy::new("1", 0.5, 0.5).is_ok());
    }

    #[test]
    fn the_canonical_text_is_fixed() {
        assert_eq!(
            policy(-0.0, 0.9).canonical(),
            "probity policy 1\nversion 1\nreview 0\ndecline 0.9\n"
        );
        assert_ne!(policy(0.5, 0.9).digest(), policy(0.5, 0.91).digest());
    }

    proptest! {
        #[test]
        fn a_higher_score_never_gets_a_milder_decision(
            mut scores in prop::array::uniform2(0.0f32..=1.0), mut thresholds in prop::array::uniform2(0.0f64..=1.0),
        ) {
            scores.sort_by(f32::total_cmp);
            thresholds.sort_by(f64::total_cmp);
            let decisions = policy(thresholds[0], thresholds[1]).decide(&scores);
            prop_assert!(decisions[0] <= decisions[1]);
        }

        #[test]
        fn a_score_has_reached_the_threshold_of_its_decision_and_none_above(
            score in 0.0f32..=1.0, mut thresholds in prop::array::uniform2(0.0f64..=1.0),
        ) {
            thresholds.sort_by(f64::total_cmp);
            let policy = policy(thresholds[0], thresholds[1]);
            let reached = policy.threshold(policy.decide(&[score])[0]);
            let highest = thresholds.into_iter().rev().find(|t| f64::from(score) >= *t);
            prop_assert_eq!(reached, highest);
        }
    }
}
