//! The words of the page, by language, and values for people.

use arrow::array::{Array as _, ArrayRef, AsArray as _};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type};

use super::Comparison;

/// What the page says. `{}` stands for what is put in, in order.
pub struct Words {
    /// Of these words.
    pub language: &'static str,
    pub title: &'static str,
    /// By decision: approve, review, decline. For the event.
    pub decided: [&'static str; 3],
    pub not_decided: &'static str,
    pub occurrence: &'static str,
    pub warning: &'static str,
    pub facts: &'static str,
    pub record: &'static str,
    pub event: &'static str,
    pub event_time: &'static str,
    pub scored: &'static str,
    pub decision: &'static str,
    pub threshold: &'static str,
    pub no_threshold: &'static str,
    pub rule: &'static str,
    pub condition: &'static str,
    pub about_rule: &'static str,
    pub score: &'static str,
    pub margin: &'static str,
    pub model: &'static str,
    pub policy: &'static str,
    pub package: &'static str,
    pub archive: &'static str,
    pub reasons: &'static str,
    pub reasons_intro: &'static str,
    pub no_reasons: &'static str,
    pub raises: &'static str,
    pub lowers: &'static str,
    pub share: &'static str,
    pub contributions: &'static str,
    pub chart: &'static str,
    /// Base, margin.
    pub chart_text: &'static str,
    pub feature: &'static str,
    pub value: &'static str,
    pub contribution: &'static str,
    pub total: &'static str,
    pub base: &'static str,
    pub all_others: &'static str,
    pub residual: &'static str,
    pub meaning: &'static str,
    pub meaning_score: &'static str,
    /// Rows of the background.
    pub meaning_base: &'static str,
    pub meaning_contribution: &'static str,
    pub meaning_exact: &'static str,
    /// Runs of the model.
    pub meaning_approximate: &'static str,
    pub verify: &'static str,
    /// By comparison: none, none though one was due, same, within the tolerance, differs.
    pub recorded: [&'static str; 5],
    /// What was asked for, what is used.
    pub other_language: &'static str,
    pub repeated: &'static str,
    pub repeated_nearly: &'static str,
    pub not_repeated: &'static str,
    pub same_runtime: &'static str,
    /// What differs.
    pub other_runtime: &'static str,
    /// Entries, root.
    pub proven: &'static str,
    pub not_proven: &'static str,
    pub commands: &'static str,
    pub data: &'static str,
    pub nothing: &'static str,
}

static ENGLISH: Words = Words {
    language: "en",
    title: "Explanation of a decision",
    decided: [
        "The event was approved.",
        "The event was given to people for review.",
        "The event was declined.",
    ],
    not_decided: "Nothing was decided.",
    occurrence: "Occurrence {} of {}",
    warning: "This is not what was recorded",
    facts: "What was decided, and by what",
    record: "Record",
    event: "Event",
    event_time: "Time of the event (UTC)",
    scored: "Decided (UTC)",
    decision: "Decision",
    threshold: "Threshold that the score reached",
    no_threshold: "none",
    rule: "Rule that made the decision stricter than the score",
    condition: "Condition of the rule, which the event met",
    about_rule: "What the rule is for",
    score: "Score",
    margin: "Margin (log-odds)",
    model: "Model",
    policy: "Policy",
    package: "Model package (SHA-256)",
    archive: "Archive",
    reasons: "Reasons",
    reasons_intro: "What moved the score most, the strongest first, compared with the package's background rows:",
    no_reasons: "No feature moves the score: it is that of the package's background rows.",
    raises: "raises the risk",
    lowers: "lowers the risk",
    share: "share",
    contributions: "What each feature contributes",
    chart: "Contributions from the base to the margin",
    chart_text: "A bar for each feature, from the base {} to the margin {}. Filled bars to the right raise the risk, \
                 hatched bars to the left lower it. The table below has the same numbers.",
    feature: "Feature",
    value: "Value",
    contribution: "Contribution",
    total: "Total so far",
    base: "Base",
    all_others: "{} others",
    residual: "Rounding of the model",
    meaning: "What the numbers mean",
    meaning_score: "The score is the model's estimate of the risk, from 0 to 1. The margin says the same in log-odds, \
                    where contributions can be added: at 0 the odds are even, and each 0.69 more doubles them.",
    meaning_base: "The base is the average margin of the {} background rows of the model package, with which the score is \
                   compared.",
    meaning_contribution: "A contribution is how far one feature moves this margin away from the base: above zero it \
                           raises the risk, below zero it lowers it. It says how the model calculated, not what \
                           caused anything.",
    meaning_exact: "The contributions are exact Shapley values: base and contributions add up to the margin.",
    meaning_approximate: "The contributions are Shapley values, approximated with {} runs of the model. They are the \
                          same each time, and base and contributions add up to the margin.",
    verify: "How to verify this page",
    recorded: [
        "No explanation was recorded with the decision: this one was calculated afterwards, from the archive.",
        "No explanation was recorded with the decision, though the recorded configuration asked for one: this one was \
         calculated afterwards, from the archive.",
        "The explanation that was recorded with the decision is the same, to the last bit.",
        "The explanation that was recorded with the decision is the same within the tolerance that another runtime has.",
        "The explanation that was recorded with the decision is another one.",
    ],
    other_language: "The model package has no texts in {}: the reasons are in {}.",
    repeated: "The model gives the recorded score again, to the last bit.",
    repeated_nearly: "The model gives the recorded score again within 0.000001.",
    not_repeated: "The model does not give the recorded score again.",
    same_runtime: "It was run on the recorded runtime.",
    other_runtime: "It was run on another runtime than the recorded one, which differs in {}.",
    proven: "The row is proven by a signed checkpoint of {} entries with the root {}.",
    not_proven: "No signed checkpoint covers the row yet.",
    commands: "Whoever has the archive and its log key can repeat all of it, offline:",
    data: "The event, as far as it is archived",
    nothing: "no value",
};

static GERMAN: Words = Words {
    language: "de",
    title: "Erklärung einer Entscheidung",
    decided: [
        "Das Ereignis wurde zugelassen.",
        "Das Ereignis wurde Menschen zur Prüfung gegeben.",
        "Das Ereignis wurde abgelehnt.",
    ],
    not_decided: "Es wurde nichts entschieden.",
    occurrence: "Vorkommen {} von {}",
    warning: "Das ist nicht, was aufgezeichnet wurde",
    facts: "Was entschieden wurde, und womit",
    record: "Datensatz",
    event: "Ereignis",
    event_time: "Zeit des Ereignisses (UTC)",
    scored: "Entschieden (UTC)",
    decision: "Entscheidung",
    threshold: "Schwelle, die der Score erreicht hat",
    no_threshold: "keine",
    rule: "Regel, die strenger entschieden hat als der Score",
    condition: "Bedingung der Regel, die das Ereignis erfüllt hat",
    about_rule: "Wozu die Regel da ist",
    score: "Score",
    margin: "Marge (Log-Odds)",
    model: "Modell",
    policy: "Regelwerk",
    package: "Modellpaket (SHA-256)",
    archive: "Archiv",
    reasons: "Gründe",
    reasons_intro: "Was den Score am meisten bewegt hat, das Stärkste zuerst, verglichen mit den Hintergrundzeilen des \
                    Modellpakets:",
    no_reasons: "Kein Merkmal bewegt den Score: Er ist derselbe wie bei den Hintergrundzeilen des Modellpakets.",
    raises: "erhöht das Risiko",
    lowers: "senkt das Risiko",
    share: "Anteil",
    contributions: "Was jedes Merkmal beiträgt",
    chart: "Beiträge vom Grundwert bis zur Marge",
    chart_text: "Ein Balken je Merkmal, vom Grundwert {} bis zur Marge {}. Gefüllte Balken nach rechts erhöhen das \
                 Risiko, schraffierte nach links senken es. Die Tabelle darunter hat dieselben Zahlen.",
    feature: "Merkmal",
    value: "Wert",
    contribution: "Beitrag",
    total: "Summe bis hier",
    base: "Grundwert",
    all_others: "{} weitere",
    residual: "Rundung des Modells",
    meaning: "Was die Zahlen bedeuten",
    meaning_score: "Der Score ist das Risiko, wie das Modell es schätzt, von 0 bis 1. Die Marge sagt dasselbe in \
                    Log-Odds, in denen sich Beiträge addieren lassen: Bei 0 stehen die Chancen gleich, und je 0.69 \
                    mehr verdoppelt sie.",
    meaning_base: "Der Grundwert ist die mittlere Marge der {} Hintergrundzeilen des Modellpakets, mit denen der Score \
                   verglichen wird.",
    meaning_contribution: "Ein Beitrag ist, wie weit ein Merkmal diese Marge vom Grundwert wegbewegt: Über null \
                           erhöht er das Risiko, unter null senkt er es. Er sagt, wie das Modell gerechnet hat, und \
                           nicht, was irgendetwas verursacht hat.",
    meaning_exact: "Die Beiträge sind exakte Shapley-Werte: Grundwert und Beiträge ergeben zusammen die Marge.",
    meaning_approximate: "Die Beiträge sind Shapley-Werte, angenähert mit {} Läufen des Modells. Sie sind jedes Mal \
                          dieselben, und Grundwert und Beiträge ergeben zusammen die Marge.",
    verify: "Wie sich diese Seite prüfen lässt",
    recorded: [
        "Mit der Entscheidung wurde keine Erklärung aufgezeichnet: Diese wurde danach aus dem Archiv berechnet.",
        "Mit der Entscheidung wurde keine Erklärung aufgezeichnet, obwohl die aufgezeichnete Konfiguration eine \
         verlangte: Diese wurde danach aus dem Archiv berechnet.",
        "Die Erklärung, die mit der Entscheidung aufgezeichnet wurde, ist dieselbe, bis aufs letzte Bit.",
        "Die Erklärung, die mit der Entscheidung aufgezeichnet wurde, ist dieselbe, so genau wie es auf einer anderen Laufzeitumgebung sein kann.",
        "Die Erklärung, die mit der Entscheidung aufgezeichnet wurde, ist eine andere.",
    ],
    other_language: "Das Modellpaket hat keine Texte in {}: Die Gründe stehen in {}.",
    repeated: "Das Modell ergibt den aufgezeichneten Score wieder, bis aufs letzte Bit.",
    repeated_nearly: "Das Modell ergibt den aufgezeichneten Score wieder, auf 0.000001 genau.",
    not_repeated: "Das Modell ergibt den aufgezeichneten Score nicht wieder.",
    same_runtime: "Es lief auf der aufgezeichneten Laufzeitumgebung.",
    other_runtime: "Es lief auf einer anderen Laufzeitumgebung als der aufgezeichneten; sie unterscheidet sich in {}.",
    proven: "Die Zeile ist durch einen signierten Prüfpunkt über {} Einträge mit der Wurzel {} bewiesen.",
    not_proven: "Noch deckt kein signierter Prüfpunkt die Zeile ab.",
    commands: "Wer das Archiv und seinen Log-Schlüssel hat, kann alles offline wiederholen:",
    data: "Das Ereignis, soweit es archiviert ist",
    nothing: "kein Wert",
};

/// Those of this language; English if there are none.
pub fn of(language: &str) -> &'static Words {
    match language.split('-').next() {
        Some("de") => &GERMAN,
        _ => &ENGLISH,
    }
}

impl Words {
    /// What is said of a decision.
    pub fn decided(&self, decision: &str) -> &'static str {
        match decision {
            "approve" => self.decided[0],
            "review" => self.decided[1],
            _ => self.decided[2],
        }
    }

    pub fn recorded(&self, comparison: Comparison) -> &'static str {
        self.recorded[comparison as usize]
    }

    pub fn direction(&self, contribution: f64) -> &'static str {
        if contribution > 0.0 {
            self.raises
        } else {
            self.lowers
        }
    }
}

/// Puts texts into the places of a sentence.
pub fn fill(sentence: &str, texts: &[&str]) -> String {
    let mut parts = sentence.split("{}");
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for (part, text) in parts.zip(texts) {
        filled.push_str(text);
        filled.push_str(part);
    }
    filled
}

/// What has no shape of its own, and may change how its neighbours look.
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A feature's value; null where there is none, or no number.
pub fn json_value(column: &ArrayRef, row: usize) -> serde_json::Value {
    if column.is_null(row) {
        return serde_json::Value::Null;
    }
    match column.data_type() {
        DataType::Float32 => column.as_primitive::<Float32Type>().value(row).into(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::Boolean => column.as_boolean().value(row).into(),
        DataType::Utf8 => column.as_string::<i32>().value(row).into(),
        other => unreachable!("no feature is {other}"),
    }
}
