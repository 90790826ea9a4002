//! The stages between the input and the transaction, in order: decode, features, infer, decide, explain;
//! then the shadows, which decide nothing.
//!
//! Pure but for the inference library: the same values give the same decisions in a lane, offline and
//! in a replay. Knows no Kafka. The clock is not asked here.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray as _, RecordBatch, Scalar, StringArray, TimestampMicrosecondArray,
    new_null_array,
};
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::{DataType, Field, Schema, TimestampMicrosecondType};

use crate::batch::{Batch, Lineage, Origin, Payload};
use crate::decide::{CompiledPolicy, Ruled};
use crate::decode::Decoder;
use crate::error::{Fatal, Result};
use crate::evidence::{self, Flags, Kind, Place, Seal, Verdict, columns};
use crate::explain::live::{Explanations, Narrator};
use crate::features::{Evaluated, FeatureSet, FeatureType};
use crate::infer::{self, Model};
use crate::laps::{Laps, Step};
use crate::record::{Decision, Stage};
use crate::schema::InputSchema;
use crate::shadow::{Opinion, Shadow};

/// The events of a batch, one row for each of its rows; null where there is none.
#[derive(Clone)]
pub struct Decoded {
    pub events: RecordBatch,
    /// Fields that were passed over.
    pub unknown_fields: u64,
    /// In which rows some were.
    pub has_unknown: Vec<bool>,
}

/// With the model's inputs, one array for each feature.
pub struct Featured {
    pub decoded: Decoded,
    pub features: Evaluated,
}

/// With what the model said.
pub struct Scored {
    pub featured: Featured,
    pub score: Vec<f32>,
    pub margin: Option<Vec<f32>>,
    /// The size of the chunk that each row was run in.
    pub chunk_rows: Vec<u16>,
}

/// With what the policy said.
pub struct Decided {
    pub scored: Scored,
    pub decisions: Vec<Decision>,
    /// Which of its rules decided, where one did.
    pub ruled: Ruled,
    /// Why, for the rows that are explained.
    pub explanations: Explanations,
    /// What each shadow would have said.
    pub shadows: Vec<Opinion>,
}

impl Payload for Decoded {
    fn rows(&self) -> usize {
        self.events.num_rows()
    }
}

impl Payload for Featured {
    fn rows(&self) -> usize {
        self.decoded.rows()
    }
}

impl Payload for Scored {
    fn rows(&self) -> usize {
        assert_eq!(
            self.score.len(),
            self.featured.rows(),
            "a stage has lost a row"
        );
        self.score.len()
    }
}

impl Payload for Decided {
    fn rows(&self) -> usize {
        assert_eq!(
            self.decisions.len(),
            self.scored.rows(),
            "a stage has lost a row"
        );
        self.decisions.len()
    }
}

impl Decided {
    fn events(&self) -> &RecordBatch {
        &self.scored.featured.decoded.events
    }

    #[must_use]
    pub fn unknown_fields(&self) -> u64 {
        self.scored.featured.decoded.unknown_fields
    }

    /// The model's inputs, one array for each feature.
    #[must_use]
    pub fn features(&self) -> &[ArrayRef] {
        &self.scored.featured.features.columns
    }

    fn flags(&self, row: usize) -> Flags {
        Flags {
            imputed: self.scored.featured.features.is_imputed(row),
            unknown_fields: self.scored.featured.decoded.has_unknown[row],
        }
    }
}

/// The columns of the input that name and date an event.
#[derive(Clone, Copy, Debug)]
struct Roles {
    event_id: usize,
    event_time: usize,
}

impl Roles {
    fn of(schema: &InputSchema, event_id: &str, event_time: &str) -> Result<Roles> {
        Ok(Roles {
            event_id: role(schema, "event_id", event_id, |f| {
                f.data_type() == &DataType::Utf8
            })?,
            event_time: role(schema, "event_time", event_time, |f| {
                matches!(f.data_type(), DataType::Timestamp(..))
            })?,
        })
    }
}

/// Everything that turns values into decisions. Belongs to one lane.
pub struct Stages {
    decoder: Decoder,
    features: FeatureSet,
    model: Model,
    policy: CompiledPolicy,
    narrator: Option<Narrator>,
    shadows: Vec<Shadow>,
    roles: Roles,
    /// Columns of the event that evidence may hold.
    archived: Vec<usize>,
}

impl Stages {
    /// # Errors
    /// When the columns that name and date an event are not there, not of the right type, or personal.
    pub fn new(
        schema: &InputSchema,
        (event_id, event_time): (&str, &str),
        decoder: Decoder,
        features: FeatureSet,
        model: Model,
        policy: CompiledPolicy,
        narrator: Option<Narrator>,
    ) -> Result<Stages> {
        let roles = Roles::of(schema, event_id, event_time)?;
        let archived = archived(schema);
        Ok(Stages {
            decoder,
            features,
            model,
            policy,
            narrator,
            shadows: Vec::new(),
            roles,
            archived,
        })
    }

    /// The same, with models that score beside it.
    #[must_use]
    pub fn with_shadows(self, shadows: Vec<Shadow>) -> Stages {
        Stages { shadows, ..self }
    }

    /// The columns of evidence for these stages.
    ///
    /// # Errors
    /// When two columns cannot be told apart.
    pub fn evidence_columns(&self, schema: &InputSchema) -> Result<Schema> {
        let events: Vec<Field> = self
            .archived
            .iter()
            .map(|&i| schema.arrow().field(i).clone())
            .collect();
        let features: Vec<Field> = self
            .features
            .names()
            .zip(self.features.types())
            .map(|(name, kind)| Field::new(name, arrow_type(kind), true))
            .collect();
        let mut texts = Vec::new();
        texts.extend(self.has_rules().then_some(columns::RULE));
        texts.extend(self.narrator.is_some().then_some(columns::EXPLANATION));
        evidence::row_schema(&events, &features, &texts)
            .and_then(|schema| evidence::with_shadows(&schema, self.shadows.len()))
            .map_err(Fatal::usage)
    }

    pub fn provider(&self) -> &str {
        self.model.provider()
    }

    fn has_rules(&self) -> bool {
        !self.policy.policy().rules().is_empty()
    }

    /// Decides every row. Rows that are refused on the way keep their place.
    ///
    /// # Errors
    /// When the inference library fails as a whole.
    pub fn run<'a, I>(
        &mut self,
        lineage: Lineage,
        values: I,
        laps: &mut Laps,
    ) -> Result<Batch<Decided>>
    where
        I: IntoIterator<Item = Option<&'a [u8]>>,
        I::IntoIter: ExactSizeIterator,
    {
        let mut lineage = lineage;
        let decoded = self.decoder.decode(values);
        lineage.reject_all(&decoded.rejected);
        let decoded = Decoded {
            events: decoded.events,
            unknown_fields: decoded.unknown_fields,
            has_unknown: decoded.has_unknown,
        };
        laps.end(Step::Decode);
        self.run_decoded(Batch::new(lineage, decoded), laps)
    }

    /// As [`Stages::run`], for events that are columns already.
    ///
    /// # Errors
    /// When the inference library fails as a whole.
    pub fn run_decoded(
        &mut self,
        batch: Batch<Decoded>,
        laps: &mut Laps,
    ) -> Result<Batch<Decided>> {
        let batch = batch.map(|_, decoded| {
            let features = self.features.complete(&decoded.events);
            Featured { decoded, features }
        });
        laps.end(Step::Features);
        let infer::Scored {
            score,
            margin,
            rejected,
            chunk_rows,
        } = self.model.run(&batch.payload().features.columns)?;
        laps.end(Step::Infer);
        // A row without a score gets one that nobody will see: its rejection comes first everywhere.
        let decidable: Vec<f32> = score
            .iter()
            .zip(&rejected)
            .map(|(score, rejection)| if rejection.is_some() { 0.0 } else { *score })
            .collect();
        let batch = batch.map(|lineage, featured| {
            lineage.reject_all(&rejected);
            Scored {
                featured,
                score,
                margin,
                chunk_rows,
            }
        });
        let events = &batch.payload().featured.decoded.events;
        let (decisions, ruled) = self.policy.decide(&decidable, events);
        laps.end(Step::Decide);
        let explanations = self.explain(&batch, &decisions)?;
        laps.end(Step::Explain);
        let events = &batch.payload().featured.decoded.events;
        let shadows = self.shadows.iter_mut();
        let shadows = shadows.map(|shadow| shadow.judge(events)).collect();
        let decided = batch.map(|_, scored| Decided {
            scored,
            decisions,
            ruled,
            explanations,
            shadows,
        });
        laps.end(Step::Shadow);
        Ok(decided)
    }

    fn explain(&mut self, batch: &Batch<Scored>, decisions: &[Decision]) -> Result<Explanations> {
        let Some(narrator) = &self.narrator else {
            return Ok(Explanations::default());
        };
        let (lineage, scored) = (batch.lineage(), batch.payload());
        let mut rows = Vec::new();
        for part in lineage.parts() {
            let is_told = |row: &usize| {
                let offset = lineage.origins()[*row].first();
                lineage.is_live(*row)
                    && narrator
                        .rows()
                        .hold(decisions[*row], part.partition, offset)
            };
            rows.extend(part.rows.clone().filter(is_told));
        }
        let (features, margins) = (&scored.featured.features.columns, scored.margin.as_deref());
        narrator.explain(&mut self.model, features, margins, &rows)
    }

    /// Appends why a row was decided as it was, as JSON for the scored record, if it is explained.
    pub fn write_reasons(&self, out: &mut Vec<u8>, decided: &Decided, row: usize) -> bool {
        self.narrator.as_ref().is_some_and(|narrator| {
            narrator.write_reasons(out, &decided.explanations, decided.features(), row)
        })
    }

    /// The text that names the event of a row.
    #[must_use]
    pub fn event_ids<'a>(&self, decided: &'a Decided) -> &'a StringArray {
        decided.events().column(self.roles.event_id).as_string()
    }

    /// The time of each event, µs since the epoch.
    #[must_use]
    pub fn event_times<'a>(&self, decided: &'a Decided) -> &'a TimestampMicrosecondArray {
        decided
            .events()
            .column(self.roles.event_time)
            .as_primitive::<TimestampMicrosecondType>()
    }

    /// The verdict on a row that is live.
    #[must_use]
    pub fn verdict(&self, batch: &Batch<Decided>, row: usize) -> Option<Verdict> {
        batch
            .lineage()
            .is_live(row)
            .then(|| self.verdict_of(batch.payload(), row))
    }

    fn verdict_of(&self, decided: &Decided, row: usize) -> Verdict {
        let decision = decided.decisions[row];
        Verdict {
            score: decided.scored.score[row],
            margin: decided.scored.margin.as_ref().map(|margin| margin[row]),
            decision,
            // The score did not reach the threshold of a decision that a rule made.
            threshold: match decided.ruled.of(row) {
                Some(_) => None,
                None => self.policy.policy().threshold(decision),
            },
            chunk_rows: decided.scored.chunk_rows[row],
        }
    }

    /// The rows as evidence, with their seals. `without` says of a row that its own columns are too large to
    /// keep.
    ///
    /// # Panics
    /// When there is not one seal for each row.
    #[must_use]
    pub fn evidence(
        &self,
        batch: &Batch<Decided>,
        schema: &Arc<Schema>,
        seals: &[Seal],
        without: &[bool],
    ) -> RecordBatch {
        let lineage = batch.lineage();
        assert_eq!(seals.len(), lineage.rows(), "one seal for each row");
        let places: Vec<Place> = seals
            .iter()
            .enumerate()
            .map(|(row, seal)| place(batch, row, *seal))
            .collect();
        let verdicts: Vec<_> = (0..lineage.rows())
            .map(|row| self.verdict(batch, row))
            .collect();
        let decided = batch.payload();
        let events: Vec<ArrayRef> = self
            .archived
            .iter()
            .map(|&i| decided.events().column(i).clone())
            .collect();
        let empty = |row: usize| without[row] || !is_decoded(lineage, row);
        let mut own = blank(&events, lineage.rows(), empty);
        own.extend(blank(decided.features(), lineage.rows(), empty));
        if self.has_rules() {
            let rule = |row: usize| decided.ruled.of(row).filter(|_| lineage.is_live(row));
            let rules: StringArray = (0..lineage.rows()).map(rule).collect();
            own.push(Arc::new(rules));
        }
        if let Some(narrator) = &self.narrator {
            // A row that was refused after it was explained has no decision to explain.
            let empty = |row: usize| without[row] || !lineage.is_live(row);
            own.push(narrator.column(&decided.explanations, empty));
        }
        for opinion in &decided.shadows {
            own.extend(opinion.columns(|row| without[row] || !lineage.is_live(row)));
        }
        evidence::lay_out(schema, &places, &verdicts, &own)
    }
}

/// Where a row came from, and what became of it.
fn place(batch: &Batch<Decided>, row: usize, seal: Seal) -> Place {
    let lineage = batch.lineage();
    let origin = &lineage.origins()[row];
    let rejection = lineage.rejection(row);
    let (broker_time, leader_epoch) = match origin {
        Origin::Gap(_) => (None, None),
        Origin::Record {
            broker_time,
            leader_epoch,
            ..
        } => (*broker_time, *leader_epoch),
    };
    let kind = match origin {
        Origin::Gap(_) => Kind::Gap,
        Origin::Record { .. } if rejection.is_some() => Kind::Rejected,
        Origin::Record { .. } => Kind::Scored,
    };
    let flags = match is_decoded(lineage, row) {
        true => batch.payload().flags(row),
        false => Flags::default(),
    };
    Place {
        kind,
        offset: origin.first(),
        next: origin.next(),
        broker_time,
        leader_epoch,
        batch_row: (kind != Kind::Gap)
            .then(|| i32::try_from(row).expect("a batch has fewer than 2^31 rows")),
        rejection,
        flags,
        seal,
    }
}

/// Whether there is an event in a row. Features of a row without one say nothing.
fn is_decoded(lineage: &Lineage, row: usize) -> bool {
    let is_event = matches!(lineage.origins()[row], Origin::Record { .. });
    is_event
        && lineage
            .rejection(row)
            .is_none_or(|rejection| rejection.stage != Stage::Decode)
}

/// The columns with nulls where `empty` says so, and nothing of the value beneath: a mere mark would leave
/// the bytes of a row in the message that they are too large for.
fn blank(columns: &[ArrayRef], rows: usize, empty: impl Fn(usize) -> bool) -> Vec<ArrayRef> {
    if !(0..rows).any(&empty) {
        return columns.to_vec();
    }
    let mask = (0..rows).map(|row| Some(empty(row))).collect();
    let blanked = columns.iter().map(|column| {
        let null = Scalar::new(new_null_array(column.data_type(), 1));
        zip(&mask, &null, column)
    });
    blanked
        .collect::<Result<_, _>>()
        .expect("the mask is as long as the columns")
}

/// The Arrow type of a feature.
#[must_use]
pub fn arrow_type(kind: FeatureType) -> DataType {
    kind.arrow_type()
}

/// The columns of the input that are not personal.
fn archived(schema: &InputSchema) -> Vec<usize> {
    let fields = schema.fields().iter().enumerate();
    fields
        .filter(|(_, field)| !field.personal)
        .map(|(index, _)| index)
        .collect()
}

fn role(
    schema: &InputSchema,
    key: &str,
    name: &str,
    fits: impl Fn(&Field) -> bool,
) -> Result<usize> {
    let fault = |what: String| Err(Fatal::usage(format!("input.{key}: {what}")));
    let Some(index) = schema.index_of(name) else {
        return fault(format!("the input schema has no field `{name}`"));
    };
    if schema.fields()[index].personal {
        return fault(format!(
            "`{name}` is marked personal; name a field that may be archived"
        ));
    }
    if !fits(schema.arrow().field(index)) {
        return fault(format!(
            "`{name}` has the wrong type; an id is a string, a time a timestamp"
        ));
    }
    Ok(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"type": "record", "name": "event", "fields": [
        {"name": "id", "type": "string"},
        {"name": "amount", "type": "long"},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "card", "type": "string", "personal": true}]}"#;

    #[test]
    fn an_event_is_named_by_text_and_dated_by_a_timestamp_that_may_be_archived() {
        let schema = InputSchema::parse(SCHEMA).unwrap();
        let fits = |id, time| Roles::of(&schema, id, time).map(|_| ());
        assert!(fits("id", "time").is_ok());
        let refused = |id, time| fits(id, time).unwrap_err().to_string();
        assert!(refused("amount", "time").contains("input.event_id: `amount`"));
        assert!(refused("nobody", "time").contains("no field `nobody`"));
        assert!(refused("card", "time").contains("personal"));
        // A day is a time to Arrow, but none that a latency can be taken from.
        assert!(refused("id", "day").contains("input.event_time: `day`"));
    }

    #[test]
    fn nothing_is_left_beneath_a_null() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["kept", "too large", "kept too"]));
        let blanked = blank(&[texts], 3, |row| row == 1);
        let texts = blanked[0].as_string::<i32>();
        let wanted = StringArray::from(vec![Some("kept"), None, Some("kept too")]);
        assert_eq!(*texts, wanted);
        assert_eq!(texts.value_data(), b"keptkept too");
    }
}
