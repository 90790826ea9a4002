//! `[[policy.rule]]`: what is read, and what is refused with its line.

use super::*;
use crate::decide::Rule;
use crate::record::Decision;

/// Lines 16 to 25 of a `model.toml` with two rules.
const RULES: &str = r#"decline = 0.9

[[policy.rule]]
name = "large"
when = "amount_minor > 500000"
decision = "review"
description = "Large amounts are looked at"

[[policy.rule]]
name = "pace"
when = """
card_count_1h > 20
  OR card_count_24h > 100"""
decision = "decline"
"#;

fn with_rules() -> String {
    MANIFEST_TEXT.replacen("decline = 0.9\n", RULES, 1)
}

/// What is said of the manifest with rules after replacing `from`, which must be there.
fn refusal_of_rules(from: &str, to: &str) -> String {
    assert!(RULES.contains(from), "{from} is not in the text");
    let folder = folder(&with_rules().replacen(from, to, 1));
    let error = Package::load(folder.path()).unwrap_err();
    assert_eq!(error.exit, Exit::Usage);
    let text = error.to_string();
    let path = folder.path().join("model.toml").display().to_string();
    text.strip_prefix(&path).unwrap_or(&text).to_owned()
}

#[test]
fn a_policy_has_the_rules_of_the_manifest_in_its_order() {
    let package = Package::load(folder(&with_rules()).path()).unwrap();
    let wanted = [
        Rule {
            name: "large".to_owned(),
            when: "amount_minor > 500000".to_owned(),
            decision: Decision::Review,
            description: Some("Large amounts are looked at".to_owned()),
        },
        Rule {
            name: "pace".to_owned(),
            when: "card_count_1h > 20\n  OR card_count_24h > 100".to_owned(),
            decision: Decision::Decline,
            description: None,
        },
    ];
    assert_eq!(package.policy.rules(), wanted);
    let without = Package::load(folder(MANIFEST_TEXT).path()).unwrap();
    assert!(without.policy.rules().is_empty());
    assert_ne!(package.policy.digest(), without.policy.digest());
}

#[test]
fn rules_that_cannot_be_are_refused_with_line_and_fix() {
    for (from, to, says) in [
        (
            "\"large\"",
            "\"a large one\"",
            ":17: `policy.rule.name`: \"a large one\"; write 1 to 64 ASCII letters",
        ),
        (
            "\"pace\"",
            "\"large\"",
            ":23: `policy.rule.name`: a second rule has the name `large`; rename one",
        ),
        (
            "\"review\"",
            "\"block\"",
            ":19: `decision` of rule `large` is \"block\"; write `review` or `decline`",
        ),
        (
            "\"review\"",
            "\"approve\"",
            ":19: `policy.rule.decision`: rule `large` says `approve`, and a rule makes no decision milder",
        ),
        (
            "\"amount_minor > 500000\"",
            "\" \"",
            ":18: rule `large` has no condition; write one",
        ),
        (
            "\"Large amounts are looked at\"",
            "\"\"",
            ":20: `description` of rule `large`: write 1 to 1000 characters",
        ),
        (
            "when = \"amount_minor > 500000\"\n",
            "",
            ":16: policy.rule 1 has no `when`; write a condition",
        ),
        (
            "description =",
            "about =",
            ":20: policy.rule 1: `about` is unknown",
        ),
    ] {
        let text = refusal_of_rules(from, to);
        assert!(text.starts_with(says), "{to}: {text}");
    }
}

#[test]
fn more_than_64_rules_are_refused() {
    let rules: String = (0..65)
        .map(|n| {
            format!("\n[[policy.rule]]\nname = \"r{n}\"\nwhen = \"TRUE\"\ndecision = \"review\"\n")
        })
        .collect();
    let text = MANIFEST_TEXT.replacen("decline = 0.9\n", &format!("decline = 0.9\n{rules}"), 1);
    let refusal = Package::load(folder(&text).path()).unwrap_err().to_string();
    assert!(refusal.contains("65 rules; write at most 64"), "{refusal}");
}
