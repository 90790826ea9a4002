//! Looks decisions up: by the event's id, or by where its record stood in the input.
//!
//! By place, the ledger says which file has it, and the rows' order where in the file. By id, files whose
//! range of ids cannot hold it are passed over, then those whose bloom filters say so; of what is left one
//! column is read. No file is read whole.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};

use super::file::column;
use super::ledger::{Filed, Ledger};
use crate::archive::layout;
use crate::archive::store;
use crate::error::{Fatal, Result};
use crate::evidence::{Context, Facts};
use crate::record::Digest;

/// How an event is named on the command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// All its occurrences: an id may be sent twice, and both are scored.
    Id(String),
    /// The record at this place: `topic:partition:offset`.
    Place {
        topic: String,
        partition: i32,
        offset: i64,
    },
}

impl Event {
    /// A place if it reads as one, else an id.
    #[must_use]
    pub fn parse(text: &str) -> Event {
        let place = || {
            let (rest, offset) = text.rsplit_once(':')?;
            let (topic, partition) = rest.rsplit_once(':')?;
            Some(Event::Place {
                topic: topic.to_owned(),
                partition: partition.parse().ok()?,
                offset: offset.parse().ok()?,
            })
        };
        place().unwrap_or_else(|| Event::Id(text.to_owned()))
    }
}

/// Where a row is: which of the ledger's segments, and its number in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    pub segment: usize,
    pub row: u64,
}

/// The rows of an event, in the order of the ledger. What is in flight and lacks its file is passed over.
///
/// # Errors
/// When a file that may have it cannot be read.
pub fn find(folder: &Path, ledger: &Ledger, event: &Event) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for (index, filed) in ledger.segments.iter().enumerate() {
        if ledger.awaits_file(folder, filed) {
            continue;
        }
        let rows = match event {
            Event::Id(id) => rows_of_id(folder, filed, id)?,
            Event::Place {
                topic,
                partition,
                offset,
            } => {
                let covered = filed.committed.segment.coverage.iter().any(|covered| {
                    covered.topic == *topic
                        && covered.partition == *partition
                        && (covered.first.0..covered.next.0).contains(offset)
                });
                match covered {
                    true => rows_at(folder, filed, *offset)?,
                    false => Vec::new(),
                }
            }
        };
        found.extend(rows.into_iter().map(|row| Found {
            segment: index,
            row,
        }));
    }
    Ok(found)
}

/// Opens the file of a segment. Types are Parquet's, not what a writer noted beside them.
///
/// # Errors
/// When it is not there, or is no Parquet file.
pub fn open(folder: &Path, filed: &Filed) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let path = folder.join(&filed.committed.segment.path);
    let file = File::open(&path).map_err(|error| unreadable(&path).because(error))?;
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
        .map_err(|error| unreadable(&path).because(error))
}

fn unreadable(path: &Path) -> Fatal {
    Fatal::integrity(format!(
        "cannot read {}, which the ledger names; run `probity verify`",
        path.display()
    ))
}

fn contradicts(filed: &Filed, what: impl std::fmt::Display) -> Fatal {
    Fatal::integrity(format!(
        "{} is not what its entry says: {what}; run `probity verify`",
        filed.committed.segment.path
    ))
}

/// The rows `first` to `first + count` of a file, or of some of its columns.
///
/// # Errors
/// When the file cannot be read.
pub fn read_rows(
    folder: &Path,
    filed: &Filed,
    first: u64,
    count: u64,
    columns: Option<&[&str]>,
) -> Result<Vec<RecordBatch>> {
    let mut builder = open(folder, filed)?;
    let size = |rows: u64| usize::try_from(rows).expect("a file has fewer rows");
    let chosen = RowSelection::from(vec![
        RowSelector::skip(size(first)),
        RowSelector::select(size(count)),
    ]);
    if let Some(columns) = columns {
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        builder = builder.with_projection(mask);
    }
    let batches = builder
        .with_row_selection(chosen)
        .build()
        .and_then(|reader| reader.map(|rows| Ok(rows?)).collect());
    batches.map_err(|error| contradicts(filed, error))
}

fn rows_at(folder: &Path, filed: &Filed, offset: i64) -> Result<Vec<u64>> {
    let columns = ["offset", "next_offset"];
    let mut row = 0;
    for rows in read_rows(
        folder,
        filed,
        0,
        filed.committed.segment.rows,
        Some(&columns),
    )? {
        let long = |name| column(&rows, name, &DataType::Int64);
        let firsts = long("offset").map_err(|error| contradicts(filed, error))?;
        let nexts = long("next_offset").map_err(|error| contradicts(filed, error))?;
        let firsts = firsts.as_primitive::<Int64Type>();
        let nexts = nexts.as_primitive::<Int64Type>();
        for (first, next) in firsts.values().iter().zip(nexts.values()) {
            if (*first..*next).contains(&offset) {
                return Ok(vec![row]);
            }
            row += 1;
        }
    }
    Ok(Vec::new())
}

fn rows_of_id(folder: &Path, filed: &Filed, id: &str) -> Result<Vec<u64>> {
    let segment = &filed.committed.segment;
    if let (Some(min), Some(max)) = (&segment.min_id, &segment.max_id)
        && (id < min.as_str() || id > max.as_str())
    {
        return Ok(Vec::new());
    }
    let name = facts(folder, segment.context)?.event_id;
    let builder = open(folder, filed)?;
    let leaf = builder
        .parquet_schema()
        .columns()
        .iter()
        .position(|column| column.name() == name)
        .ok_or_else(|| contradicts(filed, format!("it has no column `{name}`")))?;
    let groups = builder.metadata().num_row_groups();
    let mut selectors = Vec::new();
    let mut starts = Vec::new();
    let mut start = 0;
    for group in 0..groups {
        let rows = builder.metadata().row_group(group).num_rows() as usize;
        let bloom = builder
            .get_row_group_column_bloom_filter(group, leaf)
            .map_err(|error| contradicts(filed, error))?;
        if bloom.is_none_or(|bloom| bloom.check(&id)) {
            selectors.push(RowSelector::select(rows));
            starts.push((start, rows));
        } else {
            selectors.push(RowSelector::skip(rows));
        }
        start += rows;
    }
    if starts.is_empty() {
        return Ok(Vec::new());
    }
    let mask = ProjectionMask::leaves(builder.parquet_schema(), [leaf]);
    let reader = builder
        .with_projection(mask)
        .with_row_selection(RowSelection::from(selectors))
        .build()
        .map_err(|error| contradicts(filed, error))?;
    let mut numbers = starts.iter().flat_map(|&(start, rows)| start..start + rows);
    let mut found = Vec::new();
    for rows in reader {
        let rows = rows.map_err(|error| contradicts(filed, error))?;
        let ids = column(&rows, &name, &DataType::Utf8).map_err(|e| contradicts(filed, e))?;
        let ids = ids.as_string::<i32>();
        for (index, number) in (0..ids.len()).zip(&mut numbers) {
            if ids.is_valid(index) && ids.value(index) == id {
                found.push(number as u64);
            }
        }
    }
    Ok(found)
}

/// What the context of a segment says: which column names the event, and which dates it.
///
/// # Errors
/// When the context is missing or altered.
pub fn facts(folder: &Path, context: Digest) -> Result<Facts> {
    let path: PathBuf = folder.join(layout::context(context));
    let store = crate::archive::Local::read(folder);
    let bytes = store::get(&store, &layout::context(context))?;
    let context = bytes
        .filter(|bytes| Digest::of(bytes) == context)
        .and_then(|bytes| Context::parse(&bytes).ok());
    context
        .map(|context| context.facts().clone())
        .ok_or_else(|| unreadable(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_place_or_an_id() {
        let place = Event::Place {
            topic: "a:b".into(),
            partition: 3,
            offset: 42,
        };
        assert_eq!(Event::parse("a:b:3:42"), place);
        for id in ["42", "a:b", "a:3:x", "a:x:3"] {
            assert_eq!(Event::parse(id), Event::Id(id.into()));
        }
    }
}
