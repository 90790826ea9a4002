//! An archive of decisions that were made and explained as a lane makes and explains them, in a folder of its own.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray as _, RecordBatch, StringArray};

use super::super::{Form, Report, Request, report, run};
use crate::archive::archiver::{Archiver, Identity};
use crate::archive::fixture::{NOON, Paper};
use crate::archive::{Local, Nobody, Origin, Record, Settings, Store};
use crate::audit::ledger::{self, Ledger};
use crate::batch::{self, Batch, Lineage};
use crate::config::Config;
use crate::error::Result;
use crate::evidence::columns::EXPLANATION;
use crate::evidence::{Context, Range, Writer, sign};
use crate::keys::Keys;
use crate::lane::Sealer;
use crate::laps::Laps;
use crate::publish::records::{self, Scored, Stamp};
use crate::record::{Digest, NextOffset, Offset, Position};
use crate::setup::{self, Setup};
use crate::sink::Sink;
use crate::stages::{Decided, Stages};
use crate::topics::Identity as Topics;

/// What is decided: the fixture, which rows are explained, and the events' JSON.
pub struct Case<'a> {
    pub package: &'a str,
    pub rows: &'a str,
    pub events: &'a [String],
    /// Of the texts in scored records; empty: the package's own.
    pub language: &'a str,
    /// What becomes of the explanation that a row has, before it is signed; empty: it has none then.
    pub alter: fn(&str) -> String,
}

pub struct Bank {
    folder: tempfile::TempDir,
    pub ledger: Ledger,
    /// Scored records as they are published, by offset; none where the event was rejected.
    pub records: Vec<Option<String>>,
    /// What evidence says of each row, by offset.
    pub explanations: Vec<Option<String>>,
}

/// Ordinary events, of which many are declined.
pub fn events(count: usize) -> Vec<String> {
    let event = |n: usize| {
        let ratio = [40_000, 900, 250_000, 12_345][n % 4] + 37 * n;
        let known = |value: String| if n % 5 == 3 { "null".to_owned() } else { value };
        format!(
            "{{\"transaction_id\":\"tx-{n}\",\"event_time\":{time},\"amount_minor\":{ratio},\"balance_minor\":null,\
             \"card_count_1h\":{often},\"card_amount_avg_30d\":{average},\"terminal_risk\":{risk},\
             \"distance_km\":{far},\"card_age_days\":{age},\"channel\":\"{channel}\",\"merchant_country\":null,\
             \"remark\":null}}",
            time = NOON + n as i64 * 61_000_000 * 60,
            often = known(format!("{}", n * 7 % 23)),
            average = known(format!("{}", 5000 + n * 311)),
            risk = n as f64 / 17.0 % 1.0,
            far = n * n % 900,
            age = n * 97 % 2000,
            channel = ["online", "pos"][n % 2],
        )
    };
    (0..count).map(event).collect()
}

impl Bank {
    /// Decides the events and archives the decisions. None without ONNX Runtime; `test` is then said to be left out.
    pub fn open(test: &str, case: &Case<'_>) -> Option<Bank> {
        crate::infer::testing::runtime(test)?;
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), case);
        let setup = Setup::load(&config).unwrap();
        let keys = folder.path().join("keys");
        Keys::create(&keys, "bank.example").unwrap();
        let keys = Arc::new(Keys::load(&keys).unwrap());
        let mut stages = setup.stages().unwrap();
        let values: Vec<Option<&[u8]>> = case.events.iter().map(|e| Some(e.as_bytes())).collect();
        let mut lineage = Lineage::default();
        let origins = (0..)
            .take(values.len())
            .map(|offset| batch::Origin::Record {
                offset: Offset(offset),
                broker_time: Some(NOON),
                leader_epoch: Some(0),
            });
        lineage.push_part(0, origins);
        let decided = stages
            .run(lineage, values.iter().copied(), &mut Laps::start())
            .unwrap();
        let sealer = Sealer::new(keys.clone()).unwrap();
        let topics = Topics {
            cluster_id: "cluster".to_owned(),
            input_topic_id: "input-1".to_owned(),
            evidence_topic_id: "evidence-1".to_owned(),
        };
        let facts = setup.facts(&config, &topics, sealer.commitment_key());
        let stamp = Stamp::new(
            "payments",
            "input-1",
            (&facts.model_name, &facts.model_version, &facts.model_sha256),
            &facts.policy_version,
        );
        let columns = stages.evidence_columns(&setup.schema).unwrap();
        let context = Arc::new(Context::new(&columns, facts));
        let seals = sealer.seal("input-1", decided.lineage(), &values).unwrap();
        let without = vec![false; values.len()];
        let rows = stages.evidence(&decided, context.schema(), &seals, &without);
        let rows = altered(&rows, case.alter);
        let archive = folder.path().join("archive");
        fs::create_dir(&archive).unwrap();
        archived(&archive, &setup, &config, &keys, &context, &rows);
        let store: Arc<dyn Store> = Arc::new(Local::read(&archive));
        Some(Bank {
            ledger: ledger::read(&store, &keys.trust, &[]).unwrap(),
            records: (0..values.len())
                .map(|row| record(&stages, &decided, &stamp, row))
                .collect(),
            explanations: explanations(&rows),
            folder,
        })
    }

    fn request(&self, event: &str, language: Option<&str>, form: Form) -> Request {
        Request {
            folder: self.folder.path().join("archive"),
            event: event.to_owned(),
            runtime: None,
            language: language.map(str::to_owned),
            form,
        }
    }

    pub fn report(&self, event: &str) -> Result<Report> {
        report(&self.request(event, None, Form::Json), &self.ledger)
    }

    pub fn report_in(&self, event: &str, language: &str) -> Result<Report> {
        report(
            &self.request(event, Some(language), Form::Json),
            &self.ledger,
        )
    }

    /// What the command prints, and how it ends.
    pub fn printed(&self, event: &str, form: Form) -> (String, Result<()>) {
        self.printed_in(event, None, form)
    }

    pub fn printed_in(
        &self,
        event: &str,
        language: Option<&str>,
        form: Form,
    ) -> (String, Result<()>) {
        let path = self.folder.path().join("page");
        let out = Sink::open(Some(&path)).unwrap();
        let ended = run(&self.request(event, language, form), &self.ledger, out);
        (fs::read_to_string(&path).unwrap_or_default(), ended)
    }
}

fn config(folder: &Path, case: &Case<'_>) -> Config {
    let file = folder.join("probity.toml");
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
    let text = format!(
        "[pipeline]\nname = \"payments\"\ninstance = \"a\"\n[input]\ntopic = \"payments\"\nschema = \"{models}/event.avsc\"\n\
         [model]\npackage = \"{models}/{package}\"\n[explain]\nrows = \"{rows}\"\none_in = 0\n\
         language = \"{language}\"\n",
        models = models.display(),
        package = case.package,
        rows = case.rows,
        language = case.language,
    );
    fs::write(&file, text).unwrap();
    Config::load(Some(&file), &[], &crate::config::environment()).unwrap()
}

/// The rows with other explanations.
fn altered(rows: &RecordBatch, alter: fn(&str) -> String) -> RecordBatch {
    let schema = rows.schema();
    let Ok(at) = schema.index_of(EXPLANATION) else {
        return rows.clone();
    };
    let mut columns = rows.columns().to_vec();
    let told = columns[at].as_string::<i32>().iter();
    let told = told.map(|text| text.map(alter).filter(|text| !text.is_empty()));
    let told: ArrayRef = Arc::new(told.collect::<StringArray>());
    columns[at] = told;
    RecordBatch::try_new(schema, columns).unwrap()
}

fn explanations(rows: &RecordBatch) -> Vec<Option<String>> {
    let Some(column) = rows.column_by_name(EXPLANATION) else {
        return vec![None; rows.num_rows()];
    };
    let told = column.as_string::<i32>().iter();
    told.map(|text| text.map(str::to_owned)).collect()
}

fn record(stages: &Stages, batch: &Batch<Decided>, stamp: &Stamp, row: usize) -> Option<String> {
    let verdict = stages.verdict(batch, row)?;
    let scored = Scored {
        partition: 0,
        offset: batch.lineage().origins()[row].first(),
        event_id: None,
        event_time: None,
        score_time: NOON,
        score: verdict.score,
        margin: verdict.margin,
        decision: verdict.decision,
        rule: batch.payload().ruled.of(row),
    };
    let mut bytes = Vec::new();
    records::write_scored(&mut bytes, stamp, &scored, |out| {
        stages.write_reasons(out, batch.payload(), row)
    });
    Some(String::from_utf8(bytes).unwrap())
}

/// Signs and archives the rows as one message, and signs the head of the ledger.
fn archived(
    folder: &Path,
    setup: &Setup,
    config: &Config,
    keys: &Arc<Keys>,
    context: &Arc<Context>,
    rows: &RecordBatch,
) {
    let store = Arc::new(Local::open(folder).unwrap());
    setup::archive::keep(&*store, setup, config).unwrap();
    let origin = Origin {
        cluster_id: "cluster".to_owned(),
        evidence_topic: "payments.evidence".to_owned(),
        evidence_topic_id: "evidence-1".to_owned(),
    };
    let identity = Identity {
        writer: "test".to_owned(),
        keys: keys.clone(),
        clock: || NOON,
    };
    let board = Some((Box::new(Paper::default()) as _, Duration::from_secs(60)));
    let settings = Settings::default();
    let mut archiver =
        Archiver::open(store, origin, identity, settings, Arc::new(Nobody), board).unwrap();
    archiver.assign(0).unwrap();
    let range = Range {
        first: Offset(0),
        next: NextOffset(rows.num_rows() as i64),
        ingest_time: NOON,
        score_time: NOON,
        prev: Digest::ZERO,
        brings_context: true,
    };
    let (messages, _) = Writer::new(context.clone())
        .write(rows, range, usize::MAX)
        .unwrap();
    let scorer = keys.scorer.as_ref().unwrap();
    for (position, message) in messages.iter().enumerate() {
        let record = Record {
            position: Position(position as i64),
            header: Some(&message.header.to_bytes()),
            signature: Some(&sign(scorer, 0, message.head)),
            value: &message.value,
        };
        archiver.message(0, record).unwrap();
    }
    archiver.seal_all().unwrap();
    archiver.sign_head().unwrap();
}
