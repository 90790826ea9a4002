//! The explanation as one page of HTML, for a customer or a supervisor: no scripts, nothing from elsewhere, readable
//! on paper, without colours and by a screen reader.

use std::fmt::Write as _;

use super::words::{self, Words, fill};
use super::{Decided, Explanation, Occurrence, Part, Report, chart};
use crate::explain::live::NOTHING;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --faint: #767676; --raises: #b3261e; --lowers: #1f5fa8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --paper: #161616; --faint: #9a9a9a; --raises: #ff8a80; --lowers: #82b6ff; }
}
body { font: 1rem/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 48rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.3rem; } h3 { font-size: 1.1rem; margin-top: 2rem; }
article + article { border-top: 2px solid var(--ink); margin-top: 3rem; }
.decision { font-size: 1.2rem; font-weight: bold; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; color: var(--faint); padding: .3rem 0; }
th, td { text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid var(--faint);
  overflow-wrap: anywhere; font-weight: normal; }
thead th, tfoot th, tfoot td { font-weight: bold; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.faint { color: var(--faint); } .code { font-family: ui-monospace, monospace; font-size: .85rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; border-left: 3px solid var(--faint); padding-left: .8rem; }
.warning { border: 3px double var(--ink); padding: .2rem 1rem; }
svg { width: 100%; height: auto; } svg text { fill: var(--ink); font-size: 12px; }
svg .name { text-anchor: end; } svg .mark { stroke: var(--ink); stroke-width: 2; }
svg .raises { fill: var(--raises); } svg .lowers { fill: var(--lowers); } svg .outline { stroke: var(--lowers); }
@media print {
  :root { --ink: #000; --paper: #fff; --faint: #555; --raises: #333; --lowers: #333; }
  body { margin: 0; max-width: none; font-size: 10pt; } article { break-before: page; } article:first-of-type { break-before: auto; }
  h3, caption { break-after: avoid; } tr, svg { break-inside: avoid; }
}
";

pub fn page(report: &Report) -> String {
    let explanations = report
        .occurrences
        .iter()
        .filter_map(|it| it.explanation.as_ref());
    let language = explanations.map(|it| &*it.language).next().unwrap_or("en");
    let words = words::of(language);
    let count = report.occurrences.len();
    let mut page = format!(
        "<!doctype html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}: {}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{}</h1>\n",
        words.language,
        escaped(words.title),
        escaped(&report.event),
        escaped(words.title),
    );
    for (at, told) in report.occurrences.iter().enumerate() {
        let heading = fill(
            words.occurrence,
            &[&(at + 1).to_string(), &count.to_string()],
        );
        let heading = if count > 1 {
            heading
        } else {
            told.record.clone()
        };
        occurrence(
            &mut page,
            &Told {
                report,
                told,
                words,
                number: at + 1,
            },
            &heading,
        );
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

/// One occurrence, and what else is needed to tell it.
struct Told<'a> {
    report: &'a Report,
    told: &'a Occurrence,
    words: &'static Words,
    /// From 1.
    number: usize,
}

fn occurrence(page: &mut String, it: &Told<'_>, heading: &str) {
    let Told { told, words, .. } = it;
    let decided = told.decision.as_ref();
    let sentence = decided.map_or(words.not_decided, |it| words.decided(&it.decision));
    let _ = write!(
        page,
        "<article>\n<h2>{}</h2>\n<p class=\"decision\">{}</p>\n",
        value(heading),
        escaped(sentence)
    );
    if !told.findings.is_empty() {
        let _ = write!(
            page,
            "<section class=\"warning\" role=\"alert\">\n<h3>{}</h3>\n<ul lang=\"en\">\n",
            escaped(words.warning)
        );
        for finding in &told.findings {
            let _ = writeln!(page, "<li>{}</li>", value(finding));
        }
        page.push_str("</ul>\n</section>\n");
    }
    if let Some(why) = &told.unexplained {
        let _ = writeln!(page, "<p lang=\"en\">{}</p>", value(why));
    }
    if let Some(explained) = &told.explanation {
        reasons(page, explained, words);
    }
    facts(page, it);
    if let (Some(explained), Some(decided)) = (&told.explanation, decided) {
        contributions(page, explained, decided, it);
        meaning(page, explained, words);
    }
    verify(page, it);
    let _ = write!(
        page,
        "<h3>{data}</h3>\n<table>\n<caption>{data}</caption>\n<tbody>\n",
        data = escaped(words.data)
    );
    for field in &told.event {
        let shown = match field.value.is_null() {
            true => words.nothing,
            false => &field.shown,
        };
        row(page, &field.name, shown);
    }
    page.push_str("</tbody>\n</table>\n</article>\n");
}

fn reasons(page: &mut String, told: &Explanation, words: &Words) {
    let _ = writeln!(page, "<h3>{}</h3>", escaped(words.reasons));
    if let Some(asked) = &told.language_asked {
        let sentence = fill(words.other_language, &[asked, &told.language]);
        let _ = writeln!(page, "<p>{}</p>", value(&sentence));
    }
    if told.reasons.is_empty() {
        let _ = writeln!(page, "<p>{}</p>", escaped(words.no_reasons));
        return;
    }
    let _ = writeln!(page, "<p>{}</p>\n<ol>", escaped(words.reasons_intro));
    let lang = match told.language == words.language {
        true => String::new(),
        false => format!(" lang=\"{}\"", escaped(&told.language)),
    };
    for reason in &told.reasons {
        let _ = writeln!(
            page,
            "<li><span{lang}>{}</span> <span class=\"faint\">({}, {} {:.0} %)</span></li>",
            value(&reason.text),
            escaped(words.direction(reason.contribution)),
            escaped(words.share),
            reason.share * 100.0
        );
    }
    page.push_str("</ol>\n");
}

fn facts(page: &mut String, it: &Told<'_>) {
    let Told { told, words, .. } = it;
    let _ = write!(
        page,
        "<h3>{facts}</h3>\n<table>\n<caption>{facts}</caption>\n<tbody>\n",
        facts = escaped(words.facts)
    );
    row(page, words.record, &told.record);
    let nothing = words.nothing.to_owned();
    let or_nothing = |text: &Option<String>| text.clone().unwrap_or_else(|| nothing.clone());
    row(page, words.event, &or_nothing(&told.event_id));
    row(page, words.event_time, &or_nothing(&told.event_time));
    row(page, words.scored, &or_nothing(&told.score_time));
    if let Some(decided) = &told.decision {
        row(page, words.decision, &decided.decision);
        row(page, words.score, &format!("{:?}", decided.score));
        match &decided.rule {
            Some(rule) => {
                row(page, words.rule, &rule.name);
                row(page, words.condition, &rule.condition());
                if let Some(description) = &rule.description {
                    row(page, words.about_rule, description);
                }
            }
            None => {
                let threshold = decided.threshold.map(|threshold| format!("{threshold:?}"));
                let none = || words.no_threshold.to_owned();
                row(page, words.threshold, &threshold.unwrap_or_else(none));
            }
        }
        if let Some(margin) = decided.margin {
            row(page, words.margin, &format!("{margin:?}"));
        }
        let model = format!("{} {}", decided.model_name, decided.model_version);
        row(page, words.model, &model);
        row(page, words.policy, &decided.policy_version);
        row(page, words.package, &decided.package_sha256);
    }
    row(page, words.archive, &it.report.archive);
    page.push_str("</tbody>\n</table>\n");
}

fn row(page: &mut String, name: &str, text: &str) {
    let _ = writeln!(
        page,
        "<tr><th scope=\"row\">{}</th><td>{}</td></tr>",
        value(name),
        value(text)
    );
}

fn contributions(page: &mut String, told: &Explanation, decided: &Decided, it: &Told<'_>) {
    let Told { words, number, .. } = it;
    let margin = decided.margin.map_or(told.sum, f64::from);
    let _ = write!(
        page,
        "<h3>{title}</h3>\n<figure>\n{chart}<figcaption class=\"faint\">{about}</figcaption>\n</figure>\n<table>\n\
         <caption>{title}</caption>\n<thead>\n<tr><th scope=\"col\">{feature}</th><th scope=\"col\">{value}</th>\
         <th scope=\"col\" class=\"number\">{contribution}</th><th scope=\"col\" class=\"number\">{total}</th></tr>\n\
         </thead>\n<tbody>\n",
        title = escaped(words.contributions),
        chart = chart::draw(told, margin, words, *number),
        about = escaped(&fill(
            words.chart_text,
            &[&format!("{:.4}", told.base), &format!("{margin:.4}")]
        )),
        feature = escaped(words.feature),
        value = escaped(words.value),
        contribution = escaped(words.contribution),
        total = escaped(words.total),
    );
    let numbers = |name: String, value: &str, contribution: &str, total: f64| {
        format!(
            "<tr><th scope=\"row\">{name}</th><td>{value}</td><td class=\"number\">{contribution}</td>\
             <td class=\"number\">{total:.6}</td></tr>\n"
        )
    };
    page.push_str(&numbers(escaped(words.base), "", "", told.base));
    let mut total = told.base;
    for part in &told.features {
        total += part.contribution;
        let contribution = format!("{:+.6}", part.contribution);
        page.push_str(&numbers(
            named(part),
            &shown(part, words),
            &contribution,
            total,
        ));
    }
    if let Some(residual) = told.residual {
        let residual = format!("{residual:+.9}");
        page.push_str(&numbers(escaped(words.residual), "", &residual, margin));
    }
    page.push_str("</tbody>\n<tfoot>\n");
    page.push_str(&numbers(escaped(words.margin), "", "", margin));
    page.push_str("</tfoot>\n</table>\n");
}

fn named(part: &Part) -> String {
    let about = part.description.as_ref();
    let about = about.map(|about| format!("<br><span class=\"faint\">{}</span>", value(about)));
    format!("{}{}", value(&part.feature), about.unwrap_or_default())
}

fn shown(part: &Part, words: &Words) -> String {
    match &part.unit {
        _ if part.shown == NOTHING => escaped(words.nothing),
        Some(unit) => format!("{} {}", value(&part.shown), value(unit)),
        None => value(&part.shown),
    }
}

fn meaning(page: &mut String, told: &Explanation, words: &Words) {
    let how = match told.exact {
        true => words.meaning_exact.to_owned(),
        false => fill(words.meaning_approximate, &[&told.evaluations.to_string()]),
    };
    let base = fill(words.meaning_base, &[&told.background_rows.to_string()]);
    let _ = writeln!(page, "<h3>{}</h3>\n<ul>", escaped(words.meaning));
    for sentence in [words.meaning_score, &base, words.meaning_contribution, &how] {
        let _ = writeln!(page, "<li>{}</li>", escaped(sentence));
    }
    page.push_str("</ul>\n");
}

fn verify(page: &mut String, it: &Told<'_>) {
    let Told { told, words, .. } = it;
    let _ = writeln!(page, "<h3>{}</h3>\n<ul>", escaped(words.verify));
    let mut say = |sentence: &str| {
        let _ = writeln!(page, "<li>{}</li>", value(sentence));
    };
    match &told.proven {
        Some(proven) => say(&fill(
            words.proven,
            &[&proven.entries.to_string(), &proven.root],
        )),
        None => say(words.not_proven),
    }
    if let Some(decided) = &told.decision {
        say(match (decided.score_repeated, told.findings.is_empty()) {
            (true, _) => words.repeated,
            (false, true) => words.repeated_nearly,
            (false, false) => words.not_repeated,
        });
        match &decided.runtime_differs {
            None => say(words.same_runtime),
            Some(what) => say(&fill(words.other_runtime, &[what])),
        }
    }
    if let Some(explained) = &told.explanation {
        say(words.recorded(explained.recorded));
    }
    let _ = write!(page, "</ul>\n<p>{}</p>\n<pre>", escaped(words.commands));
    for (command, rest) in [
        ("verify", ""),
        ("prove", " --out proof.json"),
        ("replay", ""),
        ("explain", ""),
    ] {
        let event = if command == "verify" {
            String::new()
        } else {
            format!(" {}", told.record)
        };
        let line = format!("probity {command} ARCHIVE{event} --key KEY{rest}");
        let _ = writeln!(page, "{}", escaped(&line));
    }
    page.push_str("</pre>\n");
}

/// Text that somebody else chose: it cannot change what is around it, nor in which direction that is read.
fn value(text: &str) -> String {
    format!("<bdi>{}</bdi>", escaped(text))
}

/// Text as HTML, in elements and in attributes.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if words::is_unseen(c) => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
