//! What the command says of archived decisions, against what was said when they were made.

use serde_json::Value;

use super::super::{Comparison, Explanation, Form, Occurrence};
use super::bank::{Bank, Case, events};
use crate::error::Exit;

const PACKAGE: &str = "reasons-lightgbm";
const EVENTS: usize = 24;

fn same(text: &str) -> String {
    text.to_owned()
}

fn open(test: &str, rows: &str, events: &[String]) -> Option<Bank> {
    let case = Case {
        package: PACKAGE,
        rows,
        events,
        language: "",
        alter: same,
    };
    Bank::open(test, &case)
}

/// The only occurrence of the event at this offset.
#[track_caller]
fn told(bank: &Bank, offset: usize) -> Occurrence {
    let report = bank.report(&format!("payments:0:{offset}")).unwrap();
    let [occurrence] = <[Occurrence; 1]>::try_from(report.occurrences).unwrap();
    occurrence
}

#[track_caller]
fn explained(bank: &Bank, offset: usize) -> Explanation {
    let told = told(bank, offset);
    assert_eq!(told.findings, [""; 0]);
    told.explanation.unwrap()
}

/// The same numbers to the bit: from the scored record, from the evidence, and calculated from archived features.
#[test]
fn the_record_the_evidence_and_the_archive_explain_alike() {
    let name = "audit::explain::the_record_the_evidence_and_the_archive_explain_alike";
    let Some(bank) = open(name, "all", &events(EVENTS)) else {
        return;
    };
    let mut decisions = std::collections::BTreeSet::new();
    for offset in 0..EVENTS {
        let told = told(&bank, offset);
        assert_eq!(told.findings, [""; 0]);
        let (again, decided) = (told.explanation.unwrap(), told.decision.unwrap());
        assert_eq!(again.recorded, Comparison::Same, "{offset}");
        decisions.insert(decided.decision.clone());
        // JSON as it stands: a number that is read is no longer sure to the bit.
        let head = format!(
            "{{\"method\":\"tree-interventional\",\"base\":{},\"residual\":{},\"evaluations\":0,",
            json(&again.base),
            json(&again.residual)
        );
        let reasons = format!(
            "\"explanation\":{head}\"reasons\":{}}}",
            json(&again.reasons)
        );
        let record = bank.records[offset].as_ref().unwrap();
        assert!(record.contains(&reasons), "{reasons} is not in {record}");
        let evidence = bank.explanations[offset].as_ref().unwrap();
        assert!(evidence.starts_with(&head), "{head} is not in {evidence}");
        assert_eq!(again.features.len(), 8);
        for part in &again.features {
            let part = format!("\"{}\":{}", part.feature, json(&part.contribution));
            assert!(evidence.contains(&part), "{part} is not in {evidence}");
        }
        let (whole, margin) = (again.sum + again.residual.unwrap(), decided.margin.unwrap());
        assert!((whole - f64::from(margin)).abs() < 1e-9, "{offset}");
    }
    assert!(decisions.len() > 1, "{decisions:?}");
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

#[test]
fn what_was_not_explained_when_it_was_decided_is_explained_now() {
    let name = "audit::explain::what_was_not_explained_when_it_was_decided_is_explained_now";
    let (Some(silent), Some(bank)) = (
        open(name, "none", &events(2)),
        open(name, "all", &events(2)),
    ) else {
        return;
    };
    assert!(
        silent.records[1]
            .as_ref()
            .unwrap()
            .contains("\"explanation\":null")
    );
    let [later, live] = [&silent, &bank].map(|bank| explained(bank, 1));
    assert_eq!(later.recorded, Comparison::NotRecorded);
    assert_eq!(later.features, live.features);
    assert_eq!(later.reasons, live.reasons);
}

/// Whoever holds the scorer's key can still not tell another story: it is calculated again.
#[test]
fn a_recorded_explanation_that_is_not_the_model_s_is_a_finding() {
    let name = "audit::explain::a_recorded_explanation_that_is_not_the_model_s_is_a_finding";
    let least = |text: &str| {
        exchanged(text, "distance_km", |was| {
            format!("{:?}", was.parse::<f64>().unwrap().next_up())
        })
    };
    let sign = |text: &str| {
        let (before, reasons) = text.split_once("\"reasons\":[\"").unwrap();
        let flipped = if reasons.starts_with('+') { "-" } else { "+" };
        format!("{before}\"reasons\":[\"{flipped}{}", &reasons[1..])
    };
    let method = |text: &str| text.replace("tree-interventional", "linear");
    let base = |text: &str| exchanged(text, "base", |_| "0.5".to_owned());
    let residual = |text: &str| exchanged(text, "residual", |_| "null".to_owned());
    for (alter, words) in [
        (
            least as fn(&str) -> String,
            "the contribution of `distance_km`",
        ),
        (sign, "the reasons"),
        (method, "the method"),
        (base, "the base"),
        (residual, "having a residual"),
    ] {
        let events = events(3);
        let case = Case {
            package: PACKAGE,
            rows: "all",
            events: &events,
            language: "",
            alter,
        };
        let Some(bank) = Bank::open(name, &case) else {
            return;
        };
        let told = told(&bank, 2);
        assert_eq!(told.explanation.unwrap().recorded, Comparison::Differs);
        assert!(
            told.findings.iter().any(|finding| finding.contains(words)),
            "{words}: {:?}",
            told.findings
        );
        let (text, ended) = bank.printed("tx-2", Form::Text);
        assert_eq!(ended.unwrap_err().exit, Exit::Integrity, "{words}");
        assert!(
            text.contains("the recorded explanation is another"),
            "{text}"
        );
        assert!(text.contains("✘ the recorded explanation has"), "{text}");
    }
}

/// With another number for this key.
fn exchanged(text: &str, key: &str, number: impl Fn(&str) -> String) -> String {
    let key = format!("\"{key}\":");
    let (before, after) = text.split_once(&key).unwrap();
    let end = after.find([',', '}']).unwrap();
    format!("{before}{key}{}{}", number(&after[..end]), &after[end..])
}

#[test]
fn a_recorded_explanation_that_cannot_be_read_is_an_error_without_its_text() {
    let name =
        "audit::explain::a_recorded_explanation_that_cannot_be_read_is_an_error_without_its_text";
    let events = events(1);
    let case = Case {
        package: PACKAGE,
        rows: "all",
        events: &events,
        language: "",
        alter: |_| "{\"method\":\"secret\"}".to_owned(),
    };
    let Some(bank) = Bank::open(name, &case) else {
        return;
    };
    let error = bank.report("tx-0").unwrap_err();
    assert_eq!(error.exit, Exit::Integrity);
    let said = error.to_string();
    assert!(
        said.contains("its column `explanation` is no explanation"),
        "{said}"
    );
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn rejected_events_and_unknown_ones_are_told_apart() {
    let name = "audit::explain::rejected_events_and_unknown_ones_are_told_apart";
    let mut events = events(2);
    events.push("{no event".to_owned());
    let Some(bank) = open(name, "all", &events) else {
        return;
    };
    assert_eq!(bank.records[2], None);
    let rejected = told(&bank, 2);
    assert!(rejected.explanation.is_none() && rejected.decision.is_none());
    let why = rejected.unexplained.unwrap();
    assert!(why.contains("rejected as malformed in decode"), "{why}");
    let (text, ended) = bank.printed("payments:0:2", Form::Text);
    ended.unwrap();
    assert!(text.contains(&why), "{text}");
    let error = bank.report("tx-3").unwrap_err();
    assert_eq!(error.exit, Exit::CheckFailed);
    assert!(error.to_string().contains("no such event"), "{error}");
}

#[test]
fn a_package_that_does_not_say_how_is_named_with_what_it_lacks() {
    let name = "audit::explain::a_package_that_does_not_say_how_is_named_with_what_it_lacks";
    let events = events(1);
    let case = Case {
        package: "lightgbm",
        rows: "all",
        events: &events,
        language: "",
        alter: same,
    };
    let Some(bank) = Bank::open(name, &case) else {
        return;
    };
    let told = told(&bank, 0);
    let why = told.unexplained.unwrap();
    assert!(
        why.contains("add [reasons] with method, background and"),
        "{why}"
    );
    assert!(told.decision.unwrap().score_repeated);
    for form in [Form::Text, Form::Json, Form::Html] {
        let (page, ended) = bank.printed("tx-0", form);
        assert_eq!(ended.unwrap_err().exit, Exit::CheckFailed);
        assert!(page.contains("add [reasons]"), "{page}");
    }
}

#[test]
fn the_language_is_the_package_s_or_the_one_asked_for() {
    let name = "audit::explain::the_language_is_the_package_s_or_the_one_asked_for";
    let Some(bank) = open(name, "all", &events(1)) else {
        return;
    };
    let texts = |report: super::super::Report| {
        let explanation = report.occurrences[0].explanation.clone().unwrap();
        let texts = explanation.reasons.iter().map(|r| r.text.clone());
        (explanation.language.clone(), texts.collect::<Vec<_>>())
    };
    let (english, own) = texts(bank.report("tx-0").unwrap());
    let (german, asked) = texts(bank.report_in("tx-0", "de").unwrap());
    assert_eq!((&*english, &*german), ("en", "de"));
    assert_eq!(own.len(), asked.len());
    assert!(own.iter().zip(&asked).all(|(own, asked)| own != asked));
    // Near enough, and not at all.
    let near = bank.report_in("tx-0", "de-AT").unwrap();
    assert_eq!(texts(near), (german, asked));
    let far = bank.report_in("tx-0", "fr-CA").unwrap();
    let explanation = far.occurrences[0].explanation.clone().unwrap();
    assert_eq!(explanation.language_asked.as_deref(), Some("fr-CA"));
    assert_eq!(texts(far), (english, own));
    for (form, says) in [
        (Form::Text, "en: the package has no texts in fr-CA"),
        (
            Form::Html,
            "The model package has no texts in fr-CA: the reasons are in en.",
        ),
        (Form::Json, "\"language_asked\": \"fr-CA\""),
    ] {
        let page = bank.printed_in("tx-0", Some("fr-CA"), form).0;
        assert!(page.contains(says), "{page}");
    }
}

/// What a customer was told live is what the archive tells.
#[test]
fn the_language_is_that_of_the_scored_record() {
    let name = "audit::explain::the_language_is_that_of_the_scored_record";
    let events = events(1);
    let case = Case {
        package: PACKAGE,
        rows: "all",
        events: &events,
        language: "de-AT",
        alter: same,
    };
    let Some(bank) = Bank::open(name, &case) else {
        return;
    };
    let again = explained(&bank, 0);
    assert_eq!((&*again.language, again.language_asked), ("de", None));
    let record = bank.records[0].as_ref().unwrap();
    let reasons = format!("\"reasons\":{}", json(&again.reasons));
    assert!(record.contains(&reasons), "{reasons} is not in {record}");
}

/// A lane may have no explanation of a row, and whoever asks later is told so, and not that none was wanted.
#[test]
fn an_explanation_that_was_due_and_is_missing_is_said() {
    let name = "audit::explain::an_explanation_that_was_due_and_is_missing_is_said";
    let events = events(EVENTS);
    let case = Case {
        package: PACKAGE,
        rows: "not_approved",
        events: &events,
        language: "",
        alter: |_| String::new(),
    };
    let Some(bank) = Bank::open(name, &case) else {
        return;
    };
    let mut seen = std::collections::BTreeSet::new();
    for offset in 0..EVENTS {
        let told = told(&bank, offset);
        assert_eq!(told.findings, [""; 0]);
        let (again, decided) = (told.explanation.unwrap(), told.decision.unwrap());
        let is_due = decided.decision != "approve";
        let expected = match is_due {
            true => Comparison::DueNotRecorded,
            false => Comparison::NotRecorded,
        };
        assert_eq!(again.recorded, expected, "{offset}");
        if !seen.insert(is_due) {
            continue;
        }
        for (form, words) in [
            (
                Form::Text,
                "though the recorded configuration asked for one",
            ),
            (
                Form::Html,
                "though the recorded configuration asked for one",
            ),
            (Form::Json, "\"recorded\": \"due_not_recorded\""),
        ] {
            let page = bank.printed(&format!("tx-{offset}"), form).0;
            assert_eq!(page.contains(words), is_due, "{offset}: {page}");
        }
    }
    assert_eq!(seen.len(), 2, "one that was due, and one that was not");
}

/// What somebody else wrote cannot become part of the page, and the page asks for nothing from elsewhere.
#[test]
fn the_page_stands_alone_and_shows_foreign_text_as_text() {
    let name = "audit::explain::the_page_stands_alone_and_shows_foreign_text_as_text";
    let hostile = "<b onclick='x'>&\\\"\u{202e}\u{7}";
    let mut events = events(1);
    events[0] = events[0]
        .replace("\"tx-0\"", "\"</style><i>tx\"")
        .replace("\"remark\":null", &format!("\"remark\":\"{hostile}\""))
        .replace('\u{7}', "\\u0007");
    let Some(bank) = open(name, "all", &events) else {
        return;
    };
    let again = explained(&bank, 0);
    let event = "</style><i>tx";
    let (page, ended) = bank.printed(event, Form::Html);
    ended.unwrap();
    for needs in [
        "http:", "https:", "src=", "href", "@import", "<script", "<link", "//",
    ] {
        assert!(!page.contains(needs), "{needs} is in the page");
    }
    let urls: Vec<&str> = page
        .match_indices("url(")
        .map(|(at, _)| &page[at..at + 5])
        .collect();
    assert!(urls.iter().all(|url| *url == "url(#"), "{urls:?}");
    assert!(page.contains("Content-Security-Policy"), "{page}");
    assert_eq!(page.matches("</style>").count(), 1);
    assert!(!page.contains("<b ") && !page.contains("<i>"), "{page}");
    assert!(
        page.contains("&lt;b onclick=&#39;x&#39;&gt;&amp;")
            && !page.contains(['\u{202e}', '\u{7}']),
        "{page}"
    );
    assert!(
        page.contains("<title>Explanation of a decision: &lt;/style&gt;&lt;i&gt;tx</title>"),
        "{page}"
    );
    let (text, ended) = bank.printed(event, Form::Text);
    ended.unwrap();
    assert!(!text.contains(['\u{202e}', '\u{7}']), "{text:?}");
    for reason in &again.reasons {
        assert!(text.contains(&reason.code), "{text}");
        for form in [&text, &page] {
            assert!(
                form.contains(&reason.text),
                "{} is not in\n{form}",
                reason.text
            );
        }
    }
    for part in &again.features {
        let contribution = format!("{:+.6}", part.contribution);
        for form in [&text, &page] {
            assert!(
                form.contains(&part.feature) && form.contains(&contribution),
                "{form}"
            );
        }
    }
    let (json, ended) = bank.printed(event, Form::Json);
    ended.unwrap();
    let printed: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(printed["event"], event);
    let told = &printed["occurrences"][0]["explanation"];
    assert_eq!(told["reasons"][0]["code"], *again.reasons[0].code);
    assert!(
        json.contains(&format!("\"sum\": {}", self::json(&again.sum))),
        "{json}"
    );
}
