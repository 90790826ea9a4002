//! Thresholds, rules, and the text of a policy.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;

use super::*;
use Decision::{Approve, Decline, Review};

fn policy(review: f64, decline: f64) -> Policy {
    Policy::new("1", review, decline).unwrap()
}

fn rule(name: &str, when: &str, decision: Decision) -> Rule {
    Rule {
        name: name.to_owned(),
        when: when.to_owned(),
        decision,
        description: None,
    }
}

/// Two rules for a review, and one for a decline between them.
fn with_rules() -> Policy {
    let rules = vec![
        rule("large", "amount > 500", Review),
        rule("abroad", "issuer <> acquirer", Decline),
        rule("larger", "amount > 900", Review),
    ];
    policy(0.5, 0.75).with_rules(rules).unwrap()
}

type Event = (Option<i64>, Option<&'static str>, Option<&'static str>);

/// Events of an amount and the countries of issuer and acquirer.
fn events(rows: &[Event]) -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("amount", DataType::Int64, true),
        Field::new("issuer", DataType::Utf8, true),
        Field::new("acquirer", DataType::Utf8, true),
    ]);
    let amounts: Int64Array = rows.iter().map(|row| row.0).collect();
    let issuers: StringArray = rows.iter().map(|row| row.1).collect();
    let acquirers: StringArray = rows.iter().map(|row| row.2).collect();
    let columns: Vec<arrow::array::ArrayRef> =
        vec![Arc::new(amounts), Arc::new(issuers), Arc::new(acquirers)];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

fn compiled(policy: Policy) -> CompiledPolicy {
    CompiledPolicy::compile(policy, &events(&[]).schema()).unwrap()
}

/// Decision and rule of each row.
fn decided(
    policy: &CompiledPolicy,
    scores: &[f32],
    rows: &[Event],
) -> Vec<(Decision, Option<String>)> {
    let (decisions, ruled) = policy.decide(scores, &events(rows));
    let rule = |row: usize| ruled.of(row).map(str::to_owned);
    let rows = decisions.into_iter().enumerate();
    rows.map(|(row, decision)| (decision, rule(row))).collect()
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
fn a_policy_with_rules_is_read_from_its_text_and_from_no_other() {
    let written = with_rules();
    let text = written.canonical();
    assert_eq!(Policy::parse(&text), Some(written));
    let line = "rule large review \"amount > 500\"\n";
    for (from, to) in [
        ("policy 2", "policy 1"),
        ("policy 2", "policy 3"),
        (line, "rule large review 'amount > 500'\n"),
        (line, "rule large review \"amount \\u003e 500\"\n"),
        (line, "rule large review  \"amount > 500\"\n"),
        (line, "rule large review \"amount > 500\" \n"),
        (line, "rule large approve \"amount > 500\"\n"),
        (line, "rule large accept \"amount > 500\"\n"),
        (line, "rule larger review \"amount > 500\"\n"),
        (line, "rule l,rge review \"amount > 500\"\n"),
        (line, "rule large review\n"),
        (line, "\n"),
        ("\"\nrule larger", "\"\r\nrule larger"),
    ] {
        let wrong = text.replacen(from, to, 1);
        assert_ne!(wrong, text, "{from}");
        assert_eq!(Policy::parse(&wrong), None, "{wrong}");
    }
    assert_eq!(
        Policy::parse("probity policy 2\nversion 1\nreview 0\ndecline 1\n"),
        None
    );
}

#[test]
fn a_score_at_a_threshold_is_over_it() {
    let policy = policy(0.5, 0.75);
    let below = |threshold: f32| f32::from_bits(threshold.to_bits() - 1);
    let scores = [0.0, below(0.5), 0.5, below(0.75), 0.75, 1.0];
    assert_eq!(
        scores.map(|score| policy.by_thresholds(score)),
        [Approve, Approve, Review, Review, Decline, Decline]
    );
}

#[test]
fn thresholds_are_compared_in_64_bits() {
    // 0.9 rounded to 32 bits is less than 0.9, and 0.1 rounded is more than 0.1.
    let policy = policy(0.1, 0.9);
    assert_eq!(
        [0.9, 0.1].map(|score| policy.by_thresholds(score)),
        [Review, Review]
    );
}

#[test]
#[should_panic(expected = "not finite")]
fn a_nan_is_never_approved() {
    let _ = policy(0.5, 0.9).by_thresholds(f32::NAN);
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
fn rules_that_cannot_be_are_refused() {
    let refused = |rules: Vec<Rule>| policy(0.5, 0.9).with_rules(rules).unwrap_err();
    let named = |name: &str| rule(name, "TRUE", Review);
    let many = (0..65).map(|n| named(&n.to_string())).collect();
    let long = "x".repeat(65);
    let milder = rule("b", "TRUE", Approve);
    for (rules, place, key, says) in [
        (vec![named("a"), named("a")], 1, "name", "a second rule"),
        (vec![named("a b")], 0, "name", "\"a b\"; write 1 to 64"),
        (vec![named("")], 0, "name", "\"\"; write 1 to 64"),
        (vec![named(&long)], 0, "name", "write 1 to 64"),
        (vec![named("a"), milder], 1, "decision", "write `review`"),
        (many, 64, "name", "65 rules; write at most 64"),
    ] {
        let bad = refused(rules);
        assert_eq!((bad.rule, bad.key), (place, key), "{bad:?}");
        assert!(bad.message.contains(says), "{bad:?}");
    }
    let most = (0..64).map(|n| named(&n.to_string())).collect();
    assert!(policy(0.5, 0.9).with_rules(most).is_ok());
}

#[test]
fn the_canonical_text_is_fixed() {
    assert_eq!(
        policy(-0.0, 0.9).canonical(),
        "probity policy 1\nversion 1\nreview 0\ndecline 0.9\n"
    );
    assert_ne!(policy(0.5, 0.9).digest(), policy(0.5, 0.91).digest());
    let rules = vec![
        rule("large", "amount > 500\n  AND \"é\" <> 'a\\b'", Review),
        rule("abroad", "issuer <> acquirer", Decline),
    ];
    assert_eq!(
        policy(0.5, 0.9).with_rules(rules).unwrap().canonical(),
        "probity policy 2\nversion 1\nreview 0.5\ndecline 0.9\n\
         rule large review \"amount > 500\\n  AND \\\"é\\\" <> 'a\\\\b'\"\n\
         rule abroad decline \"issuer <> acquirer\"\n"
    );
}

#[test]
fn a_description_changes_neither_text_nor_digest() {
    let mut described = rule("large", "amount > 500", Review);
    described.description = Some("Large amounts are looked at".to_owned());
    let plain = rule("large", "amount > 500", Review);
    let of = |rule| policy(0.5, 0.9).with_rules(vec![rule]).unwrap();
    assert_eq!(of(described).digest(), of(plain).digest());
}

#[test]
fn the_strictest_decides_and_of_equal_ones_the_thresholds_then_the_first_rule() {
    let policy = compiled(with_rules());
    let home = (Some(1000), Some("DE"), Some("DE"));
    let abroad = (Some(1000), Some("DE"), Some("FR"));
    let small = (Some(1), Some("DE"), Some("DE"));
    let rule = |name: &str| Some(name.to_owned());
    assert_eq!(
        decided(
            &policy,
            &[0.1, 0.1, 0.1, 0.6, 0.6, 0.9],
            &[small, home, abroad, home, abroad, abroad]
        ),
        [
            (Approve, None),
            (Review, rule("large")),
            (Decline, rule("abroad")),
            (Review, None),
            (Decline, rule("abroad")),
            (Decline, None),
        ]
    );
}

#[test]
fn a_condition_that_is_unknown_is_not_met() {
    let policy = compiled(with_rules());
    let unknown = (None, None, Some("FR"));
    assert_eq!(decided(&policy, &[0.1], &[unknown]), [(Approve, None)]);
}

#[test]
fn every_rule_that_does_not_compile_is_told_by_its_name() {
    let rules = vec![
        rule("typo", "amonut > 500", Review),
        rule("sound", "amount > 500", Review),
        rule("number", "amount + 1", Review),
    ];
    let policy = policy(0.5, 0.9).with_rules(rules).unwrap();
    let errors = CompiledPolicy::compile(policy, &events(&[]).schema()).unwrap_err();
    let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "rule `typo`: there is no column `amonut`\n  1 | amonut > 500\n    | ^^^^^^\n  did you mean `amount`?",
            "rule `number`: a condition is a boolean, and this is an integer\n  1 | amount + 1\n    | ^^^^^^^^^^",
        ]
    );
}

#[test]
fn a_policy_says_which_columns_its_rules_read() {
    let policy = compiled(with_rules());
    let reads: Vec<(&str, usize)> = policy
        .reads()
        .map(|(rule, index)| (rule.name.as_str(), index))
        .collect();
    assert_eq!(
        reads,
        [("large", 0), ("abroad", 1), ("abroad", 2), ("larger", 0)]
    );
}

#[test]
fn a_row_may_say_what_the_thresholds_or_a_stricter_rule_make_of_its_score_and_nothing_else() {
    let policy = with_rules();
    let allows = |score, decision, threshold, rule| {
        policy.allows(
            score,
            Claim {
                decision,
                threshold,
                rule,
            },
        )
    };
    assert!(allows(0.1, Some("approve"), None, None));
    assert!(allows(0.6, Some("review"), Some(0.5), None));
    assert!(allows(0.1, Some("review"), None, Some("large")));
    assert!(allows(0.1, Some("decline"), None, Some("abroad")));
    assert!(allows(0.6, Some("decline"), None, Some("abroad")));
    for (score, decision, threshold, rule) in [
        // Without a rule nothing is stricter, or milder.
        (0.1, Some("review"), None, None),
        (0.6, Some("approve"), None, None),
        (0.6, None, Some(0.5), None),
        (0.6, Some("review"), Some(0.6), None),
        (0.6, Some("review"), None, None),
        // A rule that there is not, with another decision, that is not stricter, or with a threshold.
        (0.1, Some("review"), None, Some("small")),
        (0.1, Some("decline"), None, Some("large")),
        (0.1, Some("approve"), None, Some("large")),
        (0.1, None, None, Some("large")),
        (0.6, Some("review"), None, Some("large")),
        (0.9, Some("review"), None, Some("large")),
        (0.9, Some("decline"), None, Some("abroad")),
        (0.1, Some("review"), Some(0.5), Some("large")),
    ] {
        let text = format!("{score} {decision:?} {threshold:?} {rule:?}");
        assert!(!allows(score, decision, threshold, rule), "{text}");
    }
}

/// A name, and a text that no grammar knows.
fn any_rule() -> impl Strategy<Value = Rule> {
    let decision = prop::sample::select(vec![Review, Decline]);
    ("[A-Za-z0-9._+-]{1,8}", any::<String>(), decision)
        .prop_map(|(name, when, decision)| rule(&name, &when, decision))
}

/// Rules of conditions that hold for some events.
fn sound_rules() -> impl Strategy<Value = Vec<Rule>> {
    let condition = prop_oneof![
        (0i64..10).prop_map(|bound| format!("amount > {bound}")),
        (0i64..10).prop_map(|bound| format!("amount < {bound} OR issuer IS NULL")),
        Just("issuer <> acquirer".to_owned()),
        Just("NULL".to_owned()),
        Just("FALSE".to_owned()),
    ];
    let decision = prop::sample::select(vec![Review, Decline]);
    prop::collection::vec((condition, decision), 0..6).prop_map(|rules| {
        let rules = rules.into_iter().enumerate();
        rules
            .map(|(n, (when, decision))| rule(&format!("r{n}"), &when, decision))
            .collect()
    })
}

fn any_event() -> impl Strategy<Value = Event> {
    let country = || prop::option::of(prop::sample::select(vec!["DE", "FR"]));
    (prop::option::of(0i64..10), country(), country())
}

proptest! {
    #[test]
    fn a_higher_score_never_gets_a_milder_decision(
        mut scores in prop::array::uniform2(0.0f32..=1.0), mut thresholds in prop::array::uniform2(0.0f64..=1.0),
    ) {
        scores.sort_by(f32::total_cmp);
        thresholds.sort_by(f64::total_cmp);
        let decisions = scores.map(|score| policy(thresholds[0], thresholds[1]).by_thresholds(score));
        prop_assert!(decisions[0] <= decisions[1]);
    }

    #[test]
    fn a_score_has_reached_the_threshold_of_its_decision_and_none_above(
        score in 0.0f32..=1.0, mut thresholds in prop::array::uniform2(0.0f64..=1.0),
    ) {
        thresholds.sort_by(f64::total_cmp);
        let policy = policy(thresholds[0], thresholds[1]);
        let reached = policy.threshold(policy.by_thresholds(score));
        let highest = thresholds.into_iter().rev().find(|t| f64::from(score) >= *t);
        prop_assert_eq!(reached, highest);
    }

    #[test]
    fn a_policy_is_the_same_after_it_was_written_and_read(
        mut thresholds in prop::array::uniform2(0.0f64..=1.0), mut rules in prop::collection::vec(any_rule(), 0..5),
    ) {
        thresholds.sort_by(f64::total_cmp);
        rules.sort_by(|a, b| a.name.cmp(&b.name));
        rules.dedup_by(|a, b| a.name == b.name);
        let written = policy(thresholds[0], thresholds[1]).with_rules(rules).unwrap();
        prop_assert_eq!(Policy::parse(&written.canonical()), Some(written));
    }

    #[test]
    fn a_rule_never_makes_a_decision_milder(
        rules in sound_rules(), rows in prop::collection::vec((0.0f32..=1.0, any_event()), 1..20),
    ) {
        let policy = policy(0.3, 0.7).with_rules(rules).unwrap();
        let (scores, events): (Vec<f32>, Vec<Event>) = rows.into_iter().unzip();
        let decided = decided(&compiled(policy.clone()), &scores, &events);
        for (score, (decision, rule)) in scores.iter().zip(decided) {
            let by_thresholds = policy.by_thresholds(*score);
            prop_assert!(decision >= by_thresholds);
            // A rule is named only where it made the decision stricter, and rows that say so are allowed.
            prop_assert_eq!(rule.is_some(), decision > by_thresholds);
            let threshold = policy.threshold(decision).filter(|_| rule.is_none());
            let claim = Claim { decision: Some(decision.as_str()), threshold, rule: rule.as_deref() };
            prop_assert!(policy.allows(*score, claim));
        }
    }

    #[test]
    fn the_rule_that_is_named_is_the_first_that_is_met_and_asks_for_the_decision(
        rules in sound_rules(), score in 0.0f32..=1.0, event in any_event(),
    ) {
        let policy = policy(0.3, 0.7).with_rules(rules.clone()).unwrap();
        let [(decision, named)] = &decided(&compiled(policy), &[score], &[event])[..] else { unreachable!() };
        // Each rule alone, in a policy whose thresholds approve everything.
        let is_met = |rule: &&Rule| {
            let alone = self::policy(1.0, 1.0).with_rules(vec![(*rule).clone()]).unwrap();
            decided(&compiled(alone), &[0.0], &[event])[0].0 == rule.decision
        };
        let met: Vec<&Rule> = rules.iter().filter(is_met).collect();
        if let Some(named) = named {
            let first = met.iter().find(|rule| rule.decision == *decision);
            prop_assert_eq!(first.map(|rule| &rule.name), Some(named));
        }
        prop_assert!(met.iter().all(|rule| rule.decision <= *decision));
    }

    #[test]
    fn a_policy_without_rules_decides_by_thresholds_alone(
        scores in prop::collection::vec(0.0f32..=1.0, 0..20),
    ) {
        let policy = policy(0.3, 0.7);
        let compiled = compiled(policy.clone());
        // There need not be an event: none is looked at.
        let (decisions, ruled) = compiled.decide(&scores, &events(&[]));
        let wanted: Vec<Decision> = scores.iter().map(|score| policy.by_thresholds(*score)).collect();
        prop_assert_eq!(decisions, wanted);
        prop_assert!((0..scores.len()).all(|row| ruled.of(row).is_none()));
    }
}
