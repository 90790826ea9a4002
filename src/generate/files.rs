//! Generated payments as files: lines of JSON or an Avro object container, and their truth beside.
//!
//! Knows no more of a payment than how it is written. The same request gives the same bytes.

use std::path::{Path, PathBuf};

use super::payment::write_long;
use super::{Generator, Payment, Settings};
use crate::error::{Fatal, Result};
use crate::record::Digest;
use crate::sink::Sink;

/// The schema of generated payments.
const SCHEMA: &str = include_str!("../../schemas/payment.avsc");
/// Bytes after which a block of an Avro object container is closed.
const BLOCK_BYTES: usize = 64 << 10;

/// What to generate, and where to.
pub struct Request {
    pub settings: Settings,
    pub events: u64,
    /// An Avro object container instead of lines of JSON.
    pub avro: bool,
    /// Standard output without one.
    pub out: Option<PathBuf>,
    /// A CSV file that says which payments are fraud.
    pub truth: Option<PathBuf>,
}

/// Writes the payments until there are enough, or nobody reads them any more.
///
/// # Errors
/// When the settings are out of range, or a file cannot be written.
pub fn write(request: &Request) -> Result<()> {
    request.settings.check()?;
    if let (Some(out), Some(truth)) = (&request.out, &request.truth)
        && place(out) == place(truth)
    {
        let message = format!(
            "--out and --truth are one file, {}; name another for one of the two",
            out.display()
        );
        return Err(Fatal::usage(message));
    }
    let mut out = Sink::open(request.out.as_deref())?;
    let truth = request.truth.as_deref();
    let mut truth = truth.map(|path| Sink::open(Some(path))).transpose()?;
    let mut container = request.avro.then(Container::new);
    let mut bytes = container.as_ref().map_or(Vec::new(), Container::header);
    let mut line = Payment::TRUTH_HEADER.as_bytes().to_vec();
    let payments = Generator::new(request.settings.clone());
    for (payment, _) in payments.zip(0..request.events) {
        match &mut container {
            Some(container) => container.add(&payment, &mut bytes),
            None => {
                payment.write_json(&mut bytes);
                bytes.push(b'\n');
            }
        }
        out.write(&bytes)?;
        bytes.clear();
        if out.is_closed() {
            break;
        }
        if let Some(truth) = &mut truth {
            payment.write_truth(&mut line);
            truth.write(&line)?;
            line.clear();
        }
    }
    if let Some(container) = &mut container {
        container.end_block(&mut bytes);
    }
    out.write(&bytes)?;
    out.finish()?;
    match truth {
        Some(mut truth) => {
            truth.write(&line)?;
            truth.finish()
        }
        None => Ok(()),
    }
}

/// The one name of a file that may not be there yet.
fn place(path: &Path) -> PathBuf {
    let resolved = path.canonicalize().or_else(|error| {
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        let folder = folder.unwrap_or(Path::new(".")).canonicalize()?;
        path.file_name().map(|name| folder.join(name)).ok_or(error)
    });
    resolved.unwrap_or_else(|_| path.to_owned())
}

/// Packs payments into the blocks of an Avro object container, uncompressed.
struct Container {
    sync: [u8; 16],
    records: i64,
    block: Vec<u8>,
}

impl Container {
    /// The marker between blocks is the beginning of the schema's digest: any sixteen bytes do, and
    /// these are the same in every run.
    fn new() -> Container {
        let Digest(digest) = Digest::of(SCHEMA.as_bytes());
        Container {
            sync: *digest.first_chunk().expect("a digest has 32 bytes"),
            records: 0,
            block: Vec::new(),
        }
    }

    fn header(&self) -> Vec<u8> {
        let mut header = b"Obj\x01".to_vec();
        let entries = [("avro.schema", SCHEMA), ("avro.codec", "null")];
        write_long(&mut header, entries.len() as i64);
        for (key, value) in entries {
            for text in [key, value] {
                write_long(&mut header, text.len() as i64);
                header.extend_from_slice(text.as_bytes());
            }
        }
        write_long(&mut header, 0);
        header.extend_from_slice(&self.sync);
        header
    }

    fn add(&mut self, payment: &Payment, out: &mut Vec<u8>) {
        payment.write_avro(&mut self.block);
        self.records += 1;
        if self.block.len() >= BLOCK_BYTES {
            self.end_block(out);
        }
    }

    fn end_block(&mut self, out: &mut Vec<u8>) {
        if self.records == 0 {
            return;
        }
        write_long(out, self.records);
        write_long(out, self.block.len() as i64);
        out.append(&mut self.block);
        out.extend_from_slice(&self.sync);
        self.records = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(events: u64, avro: bool) -> (Vec<u8>, String) {
        let folder = tempfile::tempdir().unwrap();
        let (out, truth) = (folder.path().join("out"), folder.path().join("truth.csv"));
        let request = Request {
            settings: Settings::for_cards(1000),
            events,
            avro,
            out: Some(out.clone()),
            truth: Some(truth.clone()),
        };
        write(&request).unwrap();
        let truth = std::fs::read_to_string(truth).unwrap();
        (std::fs::read(out).unwrap(), truth)
    }

    #[test]
    fn every_payment_has_its_line_and_its_truth() {
        let (payments, truth) = written(500, false);
        let payments = String::from_utf8(payments).unwrap();
        let ids = payments.lines().map(|line| {
            let payment: serde_json::Value = serde_json::from_str(line).unwrap();
            payment["transaction_id"].as_str().unwrap().to_owned()
        });
        let ids: Vec<String> = ids.collect();
        let mut lines = truth.lines();
        assert_eq!(lines.next(), Some(Payment::TRUTH_HEADER.trim_end()));
        let truths: Vec<&str> = lines.map(|line| &line[..16]).collect();
        assert_eq!(ids.len(), 500);
        assert_eq!(ids, truths);
        assert_eq!(written(0, false).1, Payment::TRUTH_HEADER);
    }

    #[test]
    fn a_container_has_blocks_between_one_marker() {
        let (bytes, truth) = written(500, true);
        let sync = Digest::of(SCHEMA.as_bytes()).0;
        let markers = bytes.windows(16).filter(|window| *window == &sync[..16]);
        // After the header, after each full block, and after the last.
        assert!(markers.count() >= 3);
        assert!(bytes.ends_with(&sync[..16]));
        assert_eq!(truth.lines().count(), 501);
        assert_eq!(bytes, written(500, true).0);
    }

    #[test]
    fn settings_out_of_range_are_refused_before_anything_is_written() {
        let request = Request {
            settings: Settings::for_cards(1),
            events: 1,
            avro: false,
            out: Some("/nowhere/payments".into()),
            truth: None,
        };
        let error = write(&request).unwrap_err().to_string();
        assert!(error.contains("set cards between"), "{error}");
    }
}
