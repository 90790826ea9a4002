//! A file of events as batches: lines of JSON, an Avro object container, or Parquet.
//!
//! Tells them apart by their first bytes. Promises one row for each event, in order, with the number
//! of the event in the file, from 1, in the place of an offset. An event that is no event becomes a
//! refused row, as in a topic; a file that is broken as a whole is an error that names it.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use super::container::Container;
use super::lines::Lines;
use super::table::Table;
use crate::batch::{Batch, Lineage, Origin};
use crate::decode::{Decoder, Format, Settings as Decoding};
use crate::error::{Fatal, Result};
use crate::record::{Offset, Rejection};
use crate::schema::InputSchema;
use crate::stages::Decoded;

/// How many rows a batch may have, and how many bytes their values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub rows: usize,
    pub bytes: usize,
}

/// The events of a file that are still to come.
pub(super) struct Input {
    source: Source,
    limits: Limits,
    /// Number of the next event.
    next: i64,
}

enum Source {
    Values(Reader, Decoder),
    Table(Table),
}

/// What reads values one after the other.
enum Reader {
    Lines(Lines),
    Container(Container),
}

/// Values end to end: what is decoded as one batch.
#[derive(Default)]
pub(super) struct Values {
    pub bytes: Vec<u8>,
    /// Where each value ends.
    pub ends: Vec<usize>,
}

impl Values {
    pub fn is_full(&self, limits: Limits) -> bool {
        self.ends.len() >= limits.rows || self.bytes.len() >= limits.bytes
    }

    /// Ends the value that was appended to `bytes`.
    pub fn end_value(&mut self) {
        self.ends.push(self.bytes.len());
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<&[u8]>> {
        (0..self.ends.len()).map(|value| {
            let start = if value == 0 { 0 } else { self.ends[value - 1] };
            Some(&self.bytes[start..self.ends[value]])
        })
    }
}

impl Input {
    /// Opens the file at `path`; `-` is standard input.
    pub fn open(
        path: &Path,
        schema: &InputSchema,
        decoding: &Decoding,
        limits: Limits,
    ) -> Result<Input> {
        let name = name(path);
        let cannot_read =
            |error: io::Error| Fatal::usage(format!("cannot read {name}")).because(error);
        let mut reader: Box<dyn BufRead> = match is_standard_input(path) {
            true => Box::new(io::stdin().lock()),
            false => Box::new(BufReader::new(File::open(path).map_err(cannot_read)?)),
        };
        let head = reader.fill_buf().map_err(cannot_read)?;
        let source = if head.starts_with(b"PAR1") {
            Source::Table(Table::open(
                path,
                schema,
                decoding.unknown_fields,
                limits.rows,
            )?)
        } else if head.starts_with(b"Obj\x01") {
            let container = Container::open(&name, reader)?;
            let decoder = Decoder::of_writer(schema, container.writer(), decoding);
            let decoder =
                decoder.map_err(|e| Fatal::usage(format!("cannot read {name}")).because(e))?;
            Source::Values(Reader::Container(container), decoder)
        } else {
            refuse_extension(path)?;
            let lines = Lines::new(&name, reader, decoding.max_bytes);
            let json = Decoding {
                format: Format::Json,
                ..decoding.clone()
            };
            Source::Values(Reader::Lines(lines), Decoder::new(schema, json)?)
        };
        Ok(Input {
            source,
            limits,
            next: 1,
        })
    }

    /// The next events, at least one; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Batch<Decoded>>> {
        let (decoded, rejected) = match &mut self.source {
            Source::Table(table) => match table.next()? {
                Some(rows) => rows,
                None => return Ok(None),
            },
            Source::Values(reader, decoder) => {
                let mut values = Values::default();
                match reader {
                    Reader::Lines(lines) => lines.fill(&mut values, self.limits)?,
                    Reader::Container(container) => {
                        container.fill(&mut values, self.limits, decoder)?;
                    }
                }
                if values.ends.is_empty() {
                    return Ok(None);
                }
                let decoded = decoder.decode(values.iter());
                let events = Decoded {
                    events: decoded.events,
                    unknown_fields: decoded.unknown_fields,
                    has_unknown: decoded.has_unknown,
                };
                (events, decoded.rejected)
            }
        };
        Ok(Some(self.batch(decoded, &rejected)))
    }

    fn batch(&mut self, decoded: Decoded, rejected: &[Option<Rejection>]) -> Batch<Decoded> {
        let first = self.next;
        self.next += i64::try_from(rejected.len()).expect("a file has fewer than 2^63 events");
        let mut lineage = Lineage::default();
        let record = |number| Origin::Record {
            offset: Offset(number),
            broker_time: None,
            leader_epoch: None,
        };
        lineage.push_part(0, (first..self.next).map(record));
        lineage.reject_all(rejected);
        Batch::new(lineage, decoded)
    }
}

fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn name(path: &Path) -> String {
    match is_standard_input(path) {
        true => "standard input".to_owned(),
        false => path.display().to_string(),
    }
}

/// A file that says it is no lines of JSON is not read as such.
fn refuse_extension(path: &Path) -> Result<()> {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let problem = match extension {
        Some("parquet") => "no Parquet file: it does not begin with PAR1",
        Some("avro") => "no Avro object container: it does not begin with Obj and 1",
        _ => return Ok(()),
    };
    let path = path.display();
    Err(Fatal::usage(format!(
        "cannot read {path}, which is {problem}"
    )))
}
