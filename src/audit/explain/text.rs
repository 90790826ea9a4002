//! The explanation for a terminal: one page for each occurrence.

use std::fmt::Write as _;

use super::words;
use super::{Comparison, Decided, Explanation, Occurrence, Report};

/// Characters of the longest bar, and of the longest value.
const BAR: usize = 24;
const VALUE: usize = 24;

pub fn page(report: &Report) -> String {
    let pages = report.occurrences.iter().map(occurrence);
    pages.collect::<Vec<_>>().join("\n")
}

fn occurrence(told: &Occurrence) -> String {
    let mut text = String::new();
    let none = || "none".to_owned();
    line(&mut text, "record", &told.record);
    line(
        &mut text,
        "event",
        &told.event_id.clone().unwrap_or_else(none),
    );
    line(
        &mut text,
        "event time",
        &told.event_time.clone().unwrap_or_else(none),
    );
    line(
        &mut text,
        "scored",
        &told.score_time.clone().unwrap_or_else(none),
    );
    if let Some(decided) = &told.decision {
        decision(&mut text, decided);
    }
    let proven = told.proven.as_ref().map(|proven| {
        let (entries, root) = (proven.entries, &proven.root);
        format!("by the checkpoint of {entries} entries, root {root}")
    });
    let not_yet = || "not yet: no checkpoint covers its entry".to_owned();
    line(&mut text, "proven", &proven.unwrap_or_else(not_yet));
    if let Some(explained) = &told.explanation {
        explanation(&mut text, explained, told.decision.as_ref());
    }
    if let Some(why) = &told.unexplained {
        let _ = writeln!(text, "\n{why}");
    }
    for finding in &told.findings {
        let _ = writeln!(text, "✘ {finding}");
    }
    text
}

fn line(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "{name:<12} {}", clean(value));
}

fn decision(text: &mut String, decided: &Decided) {
    let shown = |number: Option<String>| number.unwrap_or_else(|| "none".to_owned());
    let why = match &decided.rule {
        Some(rule) => format!("by rule {}", rule.name),
        None => {
            let threshold = shown(decided.threshold.map(|it| format!("{it:?}")));
            format!("threshold {threshold}")
        }
    };
    line(text, "decision", &format!("{}, {why}", decided.decision));
    if let Some(rule) = &decided.rule {
        line(text, "rule", &rule.condition());
        if let Some(description) = &rule.description {
            line(text, "", description);
        }
    }
    let margin = shown(decided.margin.map(|it| format!("{it:?}")));
    line(
        text,
        "score",
        &format!("{:?}, margin {margin}", decided.score),
    );
    let Decided {
        model_name,
        model_version,
        model_sha256,
        ..
    } = decided;
    let model = format!("{model_name} {model_version}, sha256 {model_sha256}");
    line(text, "model", &model);
    line(
        text,
        "package",
        &format!("sha256 {}", decided.package_sha256),
    );
    let Decided {
        policy_version,
        policy_sha256,
        ..
    } = decided;
    let policy = format!("{policy_version}, sha256 {policy_sha256}");
    line(text, "policy", &policy);
    let runtime = match &decided.runtime_differs {
        None => "the recorded one".to_owned(),
        Some(what) => format!("another runtime ({what}) than {}", decided.runtime),
    };
    line(text, "runtime", &runtime);
    let repeated = match decided.score_repeated {
        true => "its score is the same to the bit",
        false => "its score is not the same to the bit",
    };
    line(text, "repeated", repeated);
}

fn explanation(text: &mut String, told: &Explanation, decided: Option<&Decided>) {
    let method = match told.exact {
        true => "exact".to_owned(),
        false => format!("approximated with {} runs of the model", told.evaluations),
    };
    let method = format!(
        "{}, {method}, compared with {} background rows",
        told.method, told.background_rows
    );
    line(text, "method", &method);
    let recorded = match told.recorded {
        Comparison::NotRecorded => "no explanation was recorded with the decision",
        Comparison::DueNotRecorded => {
            "no explanation was recorded with the decision, though the recorded configuration asked for one"
        }
        Comparison::Same => "the recorded explanation is the same to the bit",
        Comparison::WithinTolerance => "the recorded explanation is the same within the tolerance",
        Comparison::Differs => "the recorded explanation is another",
    };
    line(text, "recorded", recorded);

    if let Some(asked) = &told.language_asked {
        let used = &told.language;
        line(
            text,
            "language",
            &format!("{used}: the package has no texts in {asked}"),
        );
    }
    let _ = writeln!(text, "\nreasons ({})", told.language);
    let width = told.reasons.iter().map(|r| r.code.len()).max().unwrap_or(0);
    for reason in &told.reasons {
        let _ = writeln!(
            text,
            "  {:<6} {:<width$} {:>4.0} % {:>+9.4}  {}",
            reason.direction,
            reason.code,
            reason.share * 100.0,
            reason.contribution,
            clean(&reason.text)
        );
    }

    let _ = writeln!(text, "\ncontributions to the margin, in log-odds");
    let rows = told.features.iter().map(|part| {
        let unit = part.unit.as_ref().map(|unit| format!(" {unit}"));
        let value = format!("{}{}", part.shown, unit.unwrap_or_default());
        (&*part.feature, cut(&clean(&value)), part.contribution)
    });
    let rows: Vec<(&str, String, f64)> = rows.collect();
    let names = rows.iter().map(|(name, ..)| name.chars().count());
    let names = names.max().unwrap_or(0).max("residual".len());
    let values = rows.iter().map(|(_, value, _)| value.chars().count());
    let values = values.max().unwrap_or(0);
    let largest = rows.iter().fold(0.0_f64, |most, row| most.max(row.2.abs()));
    let _ = writeln!(
        text,
        "  {:<names$}  {:<values$}  {:>+12.6}",
        "base", "", told.base
    );
    for (name, value, contribution) in &rows {
        let bar = bar(*contribution, largest);
        let row = format!("  {name:<names$}  {value:<values$}  {contribution:>+12.6}  {bar}");
        let _ = writeln!(text, "{}", row.trim_end());
    }
    let mut sum = |name: &str, number: f64, digits: usize| {
        let number = format!("{number:+.digits$}");
        let _ = writeln!(text, "  {name:<names$}  {:<values$}  {number:>12}", "");
    };
    if let Some(residual) = told.residual {
        sum("residual", residual, 9);
    }
    let margin = decided.and_then(|decided| decided.margin);
    sum("margin", margin.map_or(told.sum, f64::from), 6);
}

/// What lowers the risk is left of the line, what raises it right of it.
fn bar(contribution: f64, largest: f64) -> String {
    let length = (contribution.abs() / largest * BAR as f64).round();
    let length = if length.is_finite() {
        length as usize
    } else {
        0
    };
    match contribution > 0.0 {
        true => format!("{:BAR$}│{}", "", "█".repeat(length)),
        false => format!("{:>BAR$}│", "░".repeat(length)),
    }
}

fn cut(text: &str) -> String {
    match text.chars().count() {
        ..=VALUE => text.to_owned(),
        _ => text.chars().take(VALUE - 1).chain(['…']).collect(),
    }
}

/// Without what could move a terminal's cursor.
fn clean(text: &str) -> String {
    text.replace(words::is_unseen, "\u{fffd}")
}
