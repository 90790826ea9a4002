//! The matrix that a model is trained on: the features of each event, as probity computes them.
//!
//! One Parquet file: the event's id, then a column for each feature under its name and type, in the
//! order of the events. Null where a feature is, which reaches the model as NaN. Refused events are
//! left out.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::batch::Batch;
use crate::error::{Fatal, Result};
use crate::features::FeatureSet;
use crate::schema::InputSchema;
use crate::stages::{Decoded, arrow_type};

pub(super) struct Matrix {
    name: String,
    features: FeatureSet,
    event_id: usize,
    schema: Arc<Schema>,
    writer: ArrowWriter<File>,
}

impl Matrix {
    /// Makes the file at `path` anew. `event_id` names the column that tells events apart.
    pub fn create(
        path: &Path,
        schema: &InputSchema,
        features: FeatureSet,
        event_id: &str,
    ) -> Result<Matrix> {
        let name = path.display().to_string();
        let index = schema.index_of(event_id).ok_or_else(|| {
            let message = format!("input.event_id: the input schema has no field `{event_id}`");
            Fatal::usage(message)
        })?;
        if features.names().any(|feature| feature == event_id) {
            let message = format!(
                "cannot write {name}: a feature has the name of the event's id, `{event_id}`; rename it"
            );
            return Err(Fatal::usage(message));
        }
        let mut columns = vec![schema.arrow().field(index).clone()];
        for (name, kind) in features.names().zip(features.types()) {
            columns.push(Field::new(name, arrow_type(kind), true));
        }
        let columns = Arc::new(Schema::new(columns));
        let cannot_write = || Fatal::usage(format!("cannot write {name}"));
        let file = File::create(path).map_err(|error| cannot_write().because(error))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .build();
        let writer = ArrowWriter::try_new(file, columns.clone(), Some(properties))
            .map_err(|error| cannot_write().because(error))?;
        Ok(Matrix {
            name,
            features,
            event_id: index,
            schema: columns,
            writer,
        })
    }

    /// Adds the events of the batch that are not refused.
    pub fn add(&mut self, batch: &Batch<Decoded>) -> Result<()> {
        let events = &batch.payload().events;
        let mut columns: Vec<ArrayRef> = vec![events.column(self.event_id).clone()];
        columns.extend(self.features.evaluate(events));
        let rows = RecordBatch::try_new(self.schema.clone(), columns)
            .expect("the schema was made of these columns");
        let lineage = batch.lineage();
        let live = (0..lineage.rows()).map(|row| Some(lineage.is_live(row)));
        let live: BooleanArray = live.collect();
        let rows = filter_record_batch(&rows, &live).expect("the mask is as long as the rows");
        let written = self.writer.write(&rows);
        written.map_err(|error| self.cannot_write().because(error))
    }

    pub fn finish(mut self) -> Result<()> {
        let finished = self.writer.finish();
        finished
            .map(drop)
            .map_err(|error| self.cannot_write().because(error))
    }

    fn cannot_write(&self) -> Fatal {
        Fatal::unreachable(format!("cannot write {}", self.name))
    }
}
