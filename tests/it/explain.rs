//! A decision is explained alike when it is made and ever after: in the scored record, in the evidence, and by
//! `probity explain` from the archive alone.

use serde_json::{Value, json};

use crate::kit::auditor::{Ended, audit};
use crate::kit::pipeline::Pipeline;
use crate::kit::{self, Signal};

const SEED: u64 = 41;
const PAYMENTS: usize = 4_000;

/// An archive at rest, of a pipeline that explained what it did not approve, and some of the rest.
fn pipeline() -> Option<Pipeline<'static>> {
    let pipeline = Pipeline::create(kit::kafka()?, "explain", "");
    pipeline.produce_payments(SEED, PAYMENTS);
    let mut process = pipeline.run("a", &["--seal-on-stop"], &[]);
    pipeline.await_processed();
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(), 0, "{}", process.lines().join("\n"));
    Some(pipeline)
}

fn explain(pipeline: &Pipeline<'_>, event: &str, more: &[&str]) -> Ended {
    let paths = [pipeline.archive(), pipeline.trust()];
    let [archive, trust] = paths.each_ref().map(|path| path.to_str().unwrap());
    let all = [&["explain", archive, event, "--trust", trust], more].concat();
    let ended = audit(&pipeline.folder, all);
    assert_eq!(ended.code, 0, "{event} {more:?}: {ended}");
    ended
}

/// The only occurrence of the event.
fn told(pipeline: &Pipeline<'_>, event: &str) -> Value {
    let mut report = explain(pipeline, event, &["--output", "json"]).json();
    let occurrences = report["occurrences"].as_array_mut().unwrap();
    assert_eq!(occurrences.len(), 1, "{event}");
    occurrences.remove(0)
}

fn place(score: &Value) -> String {
    let input = &score["input"];
    format!("explain:{}:{}", input["partition"], input["offset"])
}

fn texts(explanation: &Value) -> Vec<&str> {
    let reasons = explanation["reasons"].as_array().unwrap().iter();
    reasons
        .map(|reason| reason["text"].as_str().unwrap())
        .collect()
}

#[test]
fn a_decision_is_explained_from_the_archive_as_it_was_when_it_was_made() {
    let Some(pipeline) = pipeline() else { return };
    let scores = pipeline.scores();
    let of = |decision: &str, is_explained: bool| {
        let found = scores.iter().find(|score| {
            score["decision"] == decision && score["explanation"].is_null() != is_explained
        });
        found.unwrap_or_else(|| panic!("{decision}, explained: {is_explained}: none"))
    };
    let declined = of("decline", true);
    for score in [declined, of("approve", true)] {
        // What has the same digits is the same number.
        let (told, live) = (told(&pipeline, &place(score)), &score["explanation"]);
        assert_eq!(told["findings"], json!([]));
        assert_eq!(told["event_id"], score["event_id"]);
        for key in ["decision", "score", "margin"] {
            assert_eq!(told["decision"][key], score[key], "{key}");
        }
        assert_eq!(told["decision"]["score_repeated"], true);
        let explained = &told["explanation"];
        for key in ["method", "base", "residual", "evaluations", "reasons"] {
            assert_eq!(explained[key], live[key], "{key}");
        }
        assert_eq!(explained["recorded"], "same");
    }
    let silent = told(&pipeline, &place(of("approve", false)));
    assert_eq!(silent["explanation"]["recorded"], "not_recorded");

    let id = declined["event_id"].as_str().unwrap();
    let live = texts(&declined["explanation"]);
    let text = explain(&pipeline, id, &[]).stdout;
    let words = "the recorded explanation is the same to the bit";
    assert!(text.contains(words), "{text}");
    let german = ["--output", "html", "--language", "de"];
    let pages = [&["--output", "html"][..], &german].map(|how| explain(&pipeline, id, how).stdout);
    for words in live {
        assert!(text.contains(words), "{words} is not in\n{text}");
        assert!(pages[0].contains(words), "{words} is not in\n{}", pages[0]);
        assert!(!pages[1].contains(words), "{words} is in\n{}", pages[1]);
    }
    for page in pages {
        for elsewhere in [
            "http:", "https:", "src=", "href", "@import", "<script", "<link",
        ] {
            assert!(!page.contains(elsewhere), "{elsewhere} is in\n{page}");
        }
    }
}
