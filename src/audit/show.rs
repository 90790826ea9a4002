//! `probity show`: the whole life of one decision on one page.

use std::fmt::{Display, Write as _};
use std::path::Path;

use super::find::{self, Found};
use super::ledger::Ledger;
use super::prove::{Proof, Shown};
use super::verify::show_time;
use crate::archive::leaf::Value;
use crate::error::Result;
use crate::evidence::{columns, shadow_column};
use crate::words::counted;

/// Says everything that the archive knows of a row, and how far it is proven.
///
/// # Errors
/// When its file cannot be read.
pub fn page(folder: &Path, ledger: &Ledger, found: Found) -> Result<String> {
    let filed = &ledger.segments[found.segment];
    let n = filed.committed.n;
    let segment = &filed.committed.segment;
    let (proof, values) = values(folder, ledger, found)?;
    let page = Page(values);
    let mut lines = Lines::default();
    page.record(&mut lines);
    page.outcome(&mut lines);
    page.origin(&mut lines);
    lines.add(
        "evidence",
        format!(
            "position {} of {}",
            page.text("evidence_position"),
            segment.stream.topic
        ),
    );
    lines.add(
        "archived",
        format!("row {} of {} in {}", found.row, segment.rows, segment.path),
    );
    lines.add(
        "entry",
        format!("{n}, committed {}", show_time(ledger.times[n as usize])),
    );
    let proven = match (&proof, &ledger.checkpoint) {
        (Some(_), Some((checkpoint, _))) => format!(
            "by the checkpoint of {}, root {}",
            counted(checkpoint.size, "entry"),
            checkpoint.root
        ),
        _ => "not yet: no checkpoint covers its entry".to_owned(),
    };
    lines.add("proven", proven);
    let Lines(mut text) = lines;
    page.list(&mut text, "event_", "event");
    page.list(&mut text, "feature_", "features");
    Ok(text)
}

/// A name and what it stands for, on a line each.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: impl Display) {
        let _ = writeln!(self.0, "{name:<12} {value}");
    }
}

/// The values of a row, by column.
pub type Named = Vec<(String, Value)>;

/// The values of a row by column, from its proof if a checkpoint covers it.
///
/// # Errors
/// When its file cannot be read, or does not hold what was signed.
pub fn values(folder: &Path, ledger: &Ledger, found: Found) -> Result<(Option<Proof>, Named)> {
    if ledger.segments[found.segment].committed.n >= ledger.signed() {
        return Ok((None, unproven(folder, ledger, found)?));
    }
    let proof = Proof::make(folder, ledger, found)?;
    let values = shown(&proof, ledger)?.values;
    Ok((Some(proof), values))
}

fn shown(proof: &Proof, ledger: &Ledger) -> Result<Shown> {
    let holders = ledger
        .state
        .holders(crate::keys::Role::Log, &ledger.authority);
    proof
        .check(&ledger.authority.log)
        .or_else(|_| proof.check(&holders))
        .map_err(super::verify::violation)
}

/// The values of a row that no checkpoint covers yet.
fn unproven(folder: &Path, ledger: &Ledger, found: Found) -> Result<Named> {
    let filed = &ledger.segments[found.segment];
    let store = crate::archive::Local::read(folder);
    let columns = super::prove::columns(&store, filed.committed.segment.columns)?;
    let rows = find::read_rows(folder, filed, found.row, 1, None)?;
    let values = rows.first().and_then(|rows| {
        let leaves = crate::archive::leaf::Leaves::new(&columns, rows.schema_ref()).ok()?;
        columns.decode(&leaves.cells(rows, 0)).ok()
    });
    let values = values.ok_or_else(|| {
        super::verify::violation(format!(
            "{} is not what its entry says",
            filed.committed.segment.path
        ))
    })?;
    let names = columns.list().iter().map(|column| column.name.clone());
    Ok(names.zip(values).collect())
}

struct Page(Vec<(String, Value)>);

impl Page {
    fn get(&self, name: &str) -> Option<&Value> {
        let found = self.0.iter().find(|(column, _)| column == name);
        found
            .map(|(_, value)| value)
            .filter(|value| **value != Value::Null)
    }

    fn text(&self, name: &str) -> String {
        match self.get(name) {
            None => "none".to_owned(),
            Some(Value::Time(time)) => show_time(*time),
            // Quoted only where it must be, to stay on its line.
            Some(Value::Text(text)) if !text.contains(char::is_control) => text.clone(),
            Some(value) => value.to_string(),
        }
    }

    /// Which record it was, and when.
    fn record(&self, lines: &mut Lines) {
        let [topic, partition, offset, epoch] =
            ["input_topic", "partition", "offset", "leader_epoch"].map(|name| self.text(name));
        lines.add(
            "record",
            format!("{topic}:{partition}:{offset}, leader epoch {epoch}"),
        );
        let [cluster, topic_id] = ["cluster_id", "input_topic_id"].map(|name| self.text(name));
        lines.add("cluster", format!("{cluster}, topic id {topic_id}"));
        let [bytes, commitment, key] =
            ["payload_bytes", "payload_commitment", "commitment_key"].map(|name| self.text(name));
        lines.add(
            "payload",
            format!("{bytes} bytes, committed to by {commitment} ({key})"),
        );
        lines.add("broker time", self.text("broker_time"));
        lines.add("ingested", self.text("ingest_time"));
        lines.add("scored", self.text("score_time"));
    }

    /// What became of it.
    fn outcome(&self, lines: &mut Lines) {
        match self.text("kind").as_str() {
            "scored" => {
                let [score, margin] = ["score", "margin"].map(|name| self.text(name));
                lines.add("score", format!("{score}, margin {margin}"));
                lines.add("decision", self.decision());
                if let Some(reasons) = self.reasons() {
                    lines.add("reasons", reasons);
                }
                for (number, shadow) in (1..).zip(self.shadows()) {
                    lines.add(&format!("shadow {number}"), shadow);
                }
            }
            "rejected" => {
                let [reason, stage] = ["reject_reason", "reject_stage"].map(|name| self.text(name));
                lines.add("rejected", format!("{reason} in {stage}"));
            }
            _ => {
                let [first, next] = ["offset", "next_offset"].map(|name| self.text(name));
                lines.add("gap", format!("offsets {first} to {next} hold no event"));
            }
        }
    }

    /// What made it so: each by its name and its digest.
    fn origin(&self, lines: &mut Lines) {
        let [name, version, sha256] =
            ["model_name", "model_version", "model_sha256"].map(|name| self.text(name));
        lines.add("model", format!("{name} {version}, sha256 {sha256}"));
        lines.add("package", format!("sha256 {}", self.text("package_sha256")));
        let [version, sha256] = ["policy_version", "policy_sha256"].map(|name| self.text(name));
        lines.add("policy", format!("{version}, sha256 {sha256}"));
        let [runtime, provider, admission, sha256] =
            ["runtime", "provider", "admission", "runtime_sha256"].map(|name| self.text(name));
        lines.add(
            "runtime",
            format!("{runtime} on {provider}, {admission}, sha256 {sha256}"),
        );
        let [row, chunk, flags] = ["batch_row", "chunk_rows", "flags"].map(|name| self.text(name));
        lines.add(
            "batch",
            format!("row {row}, in chunks of {chunk}; flags {flags}"),
        );
        lines.add("config", format!("sha256 {}", self.text("config_sha256")));
    }

    /// What was decided, and what made it so.
    fn decision(&self) -> String {
        let why = match (self.get(columns::RULE), self.get("threshold")) {
            (Some(_), _) => format!("by rule {}", self.text(columns::RULE)),
            (None, Some(_)) => format!("threshold {}", self.text("threshold")),
            (None, None) => "below both thresholds".to_owned(),
        };
        format!("{}, {why}", self.text("decision"))
    }

    /// The codes of the recorded reasons, `+` before what raises the risk. None if the row was not explained.
    fn reasons(&self) -> Option<String> {
        let Some(Value::Text(text)) = self.get(columns::EXPLANATION) else {
            return None;
        };
        let recorded: serde_json::Value = serde_json::from_str(text).ok()?;
        let codes = recorded["reasons"].as_array()?.iter();
        let codes: Vec<&str> = codes.filter_map(serde_json::Value::as_str).collect();
        let text = codes.join(" ");
        (!text.is_empty() && !text.contains(char::is_control)).then_some(text)
    }

    /// What each shadow would have decided, in their order.
    fn shadows(&self) -> Vec<String> {
        let of = |number: usize| {
            self.get(&shadow_column(number, "model"))?;
            let [model, decision, score] =
                ["model", "decision", "score"].map(|what| self.text(&shadow_column(number, what)));
            Some(match self.get(&shadow_column(number, "score")) {
                Some(_) => format!("{decision}, score {score}, {model}"),
                None => format!("no score, {model}"),
            })
        };
        (1..).map_while(of).collect()
    }

    fn list(&self, text: &mut String, prefix: &str, title: &str) {
        let _ = writeln!(text, "\n{title}");
        for (column, value) in &self.0 {
            if let Some(name) = column.strip_prefix(prefix) {
                let _ = writeln!(text, "  {name:<28} {value}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(cells: &[(&str, Value)]) -> Page {
        let cells = cells.iter();
        Page(
            cells
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
        )
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn what_made_a_decision_is_said() {
        let approved = [("decision", text("approve")), ("threshold", Value::Null)];
        assert_eq!(page(&approved).decision(), "approve, below both thresholds");
        let declined = [
            ("decision", text("decline")),
            ("threshold", Value::F32(0.5)),
        ];
        assert_eq!(page(&declined).decision(), "decline, threshold 0.5");
        let ruled = [&declined[..], &[("rule", text("large"))]].concat();
        assert_eq!(page(&ruled).decision(), "decline, by rule large");
    }

    #[test]
    fn recorded_reasons_are_shown_as_codes() {
        let recorded = |explanation: &str| page(&[("explanation", text(explanation))]).reasons();
        let codes = recorded(r#"{"method":"tree","reasons":["+AMOUNT","-OTHER"]}"#);
        assert_eq!(codes.as_deref(), Some("+AMOUNT -OTHER"));
        assert_eq!(recorded(r#"{"reasons":["+A\nB"]}"#), None);
        assert_eq!(page(&[("explanation", Value::Null)]).reasons(), None);
    }

    #[test]
    fn each_shadow_has_its_line() {
        let cells = [
            ("shadow_1_model", text("card-risk 1.1.0")),
            ("shadow_1_score", Value::F32(0.12)),
            ("shadow_1_decision", text("review")),
            ("shadow_2_model", text("other 1.0.0")),
            ("shadow_2_score", Value::Null),
            ("shadow_2_decision", Value::Null),
        ];
        let shadows = page(&cells).shadows();
        assert_eq!(
            shadows,
            [
                "review, score 0.12, card-risk 1.1.0",
                "no score, other 1.0.0"
            ]
        );
        assert!(page(&cells[1..3]).shadows().is_empty());
    }
}
