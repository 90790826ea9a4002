//! `probity show`: the whole life of one decision on one page.

use std::fmt::Write as _;
use std::path::Path;

use super::find::{self, Found};
use super::ledger::Ledger;
use super::prove::{Proof, Shown};
use super::verify::show_time;
use crate::archive::leaf::Value;
use crate::error::Result;
use crate::evidence::{columns, shadow_column};

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
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12} {value}");
    };
    line(
        "record",
        format!(
            "{}:{}:{}, leader epoch {}",
            page.text("input_topic"),
            page.text("partition"),
            page.text("offset"),
            page.text("leader_epoch")
        ),
    );
    line(
        "cluster",
        format!(
            "{}, topic id {}",
            page.text("cluster_id"),
            page.text("input_topic_id")
        ),
    );
    line(
        "payload",
        format!(
            "{} bytes, committed to by {} ({})",
            page.text("payload_bytes"),
            page.text("payload_commitment"),
            page.text("commitment_key")
        ),
    );
    line("broker time", page.text("broker_time"));
    line("ingested", page.text("ingest_time"));
    line("scored", page.text("score_time"));
    match page.text("kind").as_str() {
        "scored" => {
            line(
                "score",
                format!("{}, margin {}", page.text("score"), page.text("margin")),
            );
            line("decision", page.decision());
            if let Some(reasons) = page.reasons() {
                line("reasons", reasons);
            }
            for (number, shadow) in (1..).zip(page.shadows()) {
                line(&format!("shadow {number}"), shadow);
            }
        }
        "rejected" => line(
            "rejected",
            format!(
                "{} in {}",
                page.text("reject_reason"),
                page.text("reject_stage")
            ),
        ),
        _ => line(
            "gap",
            format!(
                "offsets {} to {} hold no event",
                page.text("offset"),
                page.text("next_offset")
            ),
        ),
    }
    line(
        "model",
        format!(
            "{} {}, sha256 {}",
            page.text("model_name"),
            page.text("model_version"),
            page.text("model_sha256")
        ),
    );
    line("package", format!("sha256 {}", page.text("package_sha256")));
    line(
        "policy",
        format!(
            "{}, sha256 {}",
            page.text("policy_version"),
            page.text("policy_sha256")
        ),
    );
    line(
        "runtime",
        format!(
            "{} on {}, {}, sha256 {}",
            page.text("runtime"),
            page.text("provider"),
            page.text("admission"),
            page.text("runtime_sha256")
        ),
    );
    line(
        "batch",
        format!(
            "row {}, in chunks of {}; flags {}",
            page.text("batch_row"),
            page.text("chunk_rows"),
            page.text("flags")
        ),
    );
    line("config", format!("sha256 {}", page.text("config_sha256")));
    line(
        "evidence",
        format!(
            "position {} of {}",
            page.text("evidence_position"),
            ledger.origin.evidence_topic
        ),
    );
    line(
        "archived",
        format!("row {} of {} in {}", found.row, segment.rows, segment.path),
    );
    line(
        "entry",
        format!("{n}, committed {}", show_time(ledger.times[n as usize])),
    );
    line(
        "proven",
        match (&proof, &ledger.checkpoint) {
            (Some(_), Some((checkpoint, _))) => format!(
                "by the checkpoint of {} entries, root {}",
                checkpoint.size, checkpoint.root
            ),
            _ => "not yet: no checkpoint covers its entry".to_owned(),
        },
    );
    page.list(&mut text, "event_", "event");
    page.list(&mut text, "feature_", "features");
    Ok(text)
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
