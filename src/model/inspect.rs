//! `probity model inspect`: what is in a package, for who must know before it decides.

use std::fmt::{self, Display, Write as _};
use std::path::Path;

use serde::Serialize;

use super::description::{Description, Explained, Feature, Reason};
use super::onnx::{OnnxFile, Slot};
use super::read;
use crate::audit::Output;
use crate::config::Config;
use crate::error::Result;
use crate::package::SIGNATURE;
use crate::sink::Sink;

#[derive(Serialize)]
struct Inspection {
    #[serde(flatten)]
    package: Description,
    signature: String,
}

/// Prints what is in the package in `folder`.
///
/// # Errors
/// When the package cannot be read; with `model.trust_key`, when it is not as that key signed it.
pub fn run(config: &Config, folder: &Path, output: Output, mut out: Sink) -> Result<()> {
    let package = read(config, folder, "FOLDER")?;
    let inspection = Inspection {
        package: Description::of(&package, config.explain.memory_bytes)?,
        signature: signature(config, folder),
    };
    let text = match output {
        Output::Text => inspection.to_string(),
        Output::Json => {
            serde_json::to_string_pretty(&inspection).expect("texts and numbers serialize") + "\n"
        }
    };
    out.write(text.as_bytes())?;
    out.finish()
}

/// What is known of who made the package, which was read already.
fn signature(config: &Config, folder: &Path) -> String {
    match &config.model.trust_key {
        Some(key) => format!("by {}, of every file", key.display()),
        None if folder.join(SIGNATURE).exists() => {
            format!("there is a {SIGNATURE}, which nobody verified: model.trust_key is not set")
        }
        None => format!("none: there is no {SIGNATURE}"),
    }
}

impl Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let package = &self.package;
        writeln!(f, "{} {}", package.name, package.version)?;
        writeln!(f, "  sha256     {}", package.sha256)?;
        writeln!(f, "  signature  {}", self.signature)?;
        writeln!(f, "\nfiles")?;
        for file in &package.files {
            writeln!(f, "  {}  {}, {} bytes", file.sha256, file.name, file.bytes)?;
        }
        f.write_str(&onnx(&package.onnx))?;
        writeln!(f, "\nhow it is run")?;
        writeln!(f, "  features     {}", package.inputs)?;
        writeln!(f, "  probability  {}", package.probability)?;
        writeln!(
            f,
            "  margin       {}",
            package.margin.as_deref().unwrap_or("none")
        )?;
        writeln!(f, "  chunk rows   {:?}", package.chunk_rows)?;
        let contributions = match package.golden_contributions {
            true => ", with contributions",
            false => "",
        };
        writeln!(f, "  golden rows  {}{contributions}", package.golden_rows)?;
        match &package.reference {
            Some(reference) => writeln!(f, "  reference    {} rows", reference.rows)?,
            None => writeln!(f, "  reference    none: drift is not measured")?,
        }
        writeln!(f, "\npolicy {}", package.policy.version)?;
        writeln!(f, "  sha256  {}", package.policy.sha256)?;
        for line in &package.policy.text {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "\n{} features", package.features.len())?;
        package
            .features
            .iter()
            .try_for_each(|feature| f.write_str(&said_of(feature)))?;
        f.write_str(&reasons(package.reasons.as_ref()))
    }
}

fn onnx(file: &OnnxFile) -> String {
    let producer = match file.producer.as_str() {
        "" => "not named",
        producer => producer,
    };
    let opsets: Vec<String> = file
        .opsets
        .iter()
        .map(|(domain, v)| format!("{domain} {v}"))
        .collect();
    let nodes: Vec<String> = file
        .operators
        .iter()
        .map(|(name, n)| format!("{n} {name}"))
        .collect();
    let slots = |slots: &[Slot]| {
        let slots = slots
            .iter()
            .map(|slot| format!("{} {}", slot.name, slot.kind));
        slots.collect::<Vec<_>>().join(", ")
    };
    let metadata = match file.metadata_keys.is_empty() {
        true => "none".to_owned(),
        false => file.metadata_keys.join(", "),
    };
    format!(
        "\nONNX file\n  producer       {producer}\n  format         {}\n  operator sets  {}\n  operators      {}\n  \
         inputs         {}\n  outputs        {}\n  metadata keys  {metadata}\n",
        file.ir_version,
        opsets.join(", "),
        nodes.join(", "),
        slots(&file.inputs),
        slots(&file.outputs),
    )
}

fn said_of(feature: &Feature) -> String {
    let mut text = format!("  {}  {}\n", feature.name, feature.kind);
    for line in feature.sql.lines() {
        let _ = writeln!(text, "      {}", line.trim());
    }
    let missing = match feature.impute {
        Some(value) => format!("null becomes {value}"),
        None => "null stays missing".to_owned(),
    };
    let mut facts = vec![missing];
    facts.extend(feature.unit.as_ref().map(|unit| format!("in {unit}")));
    facts.extend(
        feature
            .range
            .map(|[low, high]| format!("usually {low} to {high}")),
    );
    facts.push(format!(
        "personal data: {}",
        feature.personal.unwrap_or("not said")
    ));
    let _ = writeln!(text, "      {}", facts.join("; "));
    if let (Some(codes), Some(unknown)) = (&feature.categories, feature.unknown_category) {
        let codes: Vec<String> = codes
            .iter()
            .map(|(text, code)| format!("{text} {code}"))
            .collect();
        let _ = writeln!(
            text,
            "      codes: {}; any other {unknown}",
            codes.join(", ")
        );
    }
    if let Some(description) = &feature.description {
        let _ = writeln!(text, "      {description}");
    }
    text
}

fn reasons(reasons: Option<&Explained>) -> String {
    let Some(reasons) = reasons else {
        return "\nreasons: none, decisions are not explained\n".to_owned();
    };
    let mut text = format!(
        "\nreasons by {}, compared with {} background rows, in {}\n",
        reasons.method, reasons.background_rows, reasons.language
    );
    if reasons.permutations > 0 {
        let _ = writeln!(
            text,
            "  {} pairs of permutations for each background row",
            reasons.permutations
        );
    }
    if let Some(effort) = &reasons.effort {
        let _ = writeln!(text, "  {effort}");
    }
    for Reason {
        code,
        features,
        raises,
        lowers,
    } in &reasons.groups
    {
        let _ = writeln!(text, "  {code}  {}", features.join(", "));
        for (way, texts) in [("raises", raises), ("lowers", lowers)] {
            for (language, words) in texts {
                let _ = writeln!(text, "      {way}, {language}: {words}");
            }
        }
    }
    text
}
