//! `probity prove`: the proof that one row is in the archive, as one small file that needs no archive.
//!
//! A proof holds the row's cells, the path from its leaf to the root that its entry names, the entry, the
//! path from there to the root that a checkpoint names, and the checkpoint. Who checks it needs a log key.

use std::path::Path;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::find::{self, Found};
use super::ledger::Ledger;
use crate::archive::keeper;
use crate::archive::layout;
use crate::archive::leaf::{Columns, GROUP_ROWS, Leaves, Value};
use crate::archive::ledger::{Body, Entry, Segment};
use crate::archive::store;
use crate::archive::{Local, Store};
use crate::error::{Exit, Fatal, Result};
use crate::record::Digest;
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::{Verifier, tree};

/// What a proof calls itself.
const FORMAT: &str = "probity-proof/1";

/// A proof, as it is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    format: String,
    columns: String,
    cells: String,
    row: u64,
    row_path: Vec<String>,
    entry: String,
    entry_path: Vec<String>,
    checkpoint: String,
}

/// What a proof shows.
#[derive(Clone, Debug)]
pub struct Shown {
    pub checkpoint: Checkpoint,
    pub entry: Entry,
    pub row: u64,
    /// Names and values of the row's columns.
    pub values: Vec<(String, Value)>,
}

impl Shown {
    /// The segment that the row is of.
    #[must_use]
    pub fn segment(&self) -> &Segment {
        match &self.entry.body {
            Body::Segment(segment) => segment,
            _ => unreachable!("a proof is of a segment's row"),
        }
    }
}

impl Proof {
    /// Makes the proof of a row that was found, and checks it.
    ///
    /// # Errors
    /// When the row is not signed for yet, or its file is not what was signed.
    pub fn make(folder: &Path, ledger: &Ledger, found: Found) -> Result<Proof> {
        let filed = &ledger.segments[found.segment];
        let n = filed.committed.n;
        let Some((checkpoint, note)) = &ledger.checkpoint else {
            return Err(no_checkpoint());
        };
        if n >= checkpoint.size {
            return Err(Fatal::new(
                Exit::CheckFailed,
                format!(
                    "the row is in entry {n}, and the newest checkpoint covers {} entries: it is in flight. \
                     try again when the archiver has signed it",
                    checkpoint.size
                ),
            ));
        }
        let segment = &filed.committed.segment;
        let columns = columns(&Local::read(folder), segment.columns)?;
        let group = found.row / GROUP_ROWS;
        let (first, row) = (group * GROUP_ROWS, (found.row % GROUP_ROWS) as usize);
        let rows = find::read_rows(
            folder,
            filed,
            first,
            GROUP_ROWS.min(segment.rows - first),
            None,
        )?;
        let mut leaves = Vec::new();
        let mut cells = None;
        for rows in &rows {
            let mut hasher = Leaves::new(&columns, rows.schema_ref())
                .map_err(|error| super::verify::violation(format!("{}: {error}", segment.path)))?;
            if let Some(index) = row.checked_sub(leaves.len())
                && index < rows.num_rows()
            {
                cells = Some(hasher.cells(rows, index));
            }
            leaves.extend_from_slice(hasher.of(rows));
        }
        let cells = cells.ok_or_else(|| {
            super::verify::violation(format!(
                "{} has fewer rows than its entry says",
                segment.path
            ))
        })?;
        let mut row_path = tree::inclusion(&leaves, row);
        row_path.extend(tree::inclusion(&segment.group_roots, group as usize));
        let records = ledger.records[..checkpoint.size as usize].iter();
        let records: Option<Vec<Digest>> = records
            .map(|record| record.as_ref().map(|bytes| tree::leaf_hash(bytes)))
            .collect();
        let records = records
            .ok_or_else(|| super::verify::violation("entries are missing: run `probity verify`"))?;
        let entry = ledger.records[n as usize].as_ref().expect("all are there");
        let proof = Proof {
            format: FORMAT.to_owned(),
            columns: columns.text().to_owned(),
            cells: hex(&cells),
            row: found.row,
            row_path: row_path.iter().map(Digest::to_string).collect(),
            entry: text(entry),
            entry_path: tree::inclusion(&records, n as usize)
                .iter()
                .map(Digest::to_string)
                .collect(),
            checkpoint: text(note),
        };
        let shown = proof.check(&ledger.authority.log);
        // A key that the ledger added signs it, for who trusts only the one before.
        let known = ledger
            .state
            .holders(crate::keys::Role::Log, &ledger.authority);
        shown.or_else(|_| proof.check(&known)).map_err(|what| {
            super::verify::violation(format!("{} does not give a proof: {what}", segment.path))
        })?;
        Ok(proof)
    }

    /// `name` stands in errors.
    ///
    /// # Errors
    /// When the bytes are no proof. Only what is JSON may be one that was altered.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Proof> {
        serde_json::from_slice(bytes).map_err(|error| {
            let is_json = serde_json::from_slice::<serde_json::Value>(bytes).is_ok();
            let exit = if is_json {
                Exit::Integrity
            } else {
                Exit::Usage
            };
            Fatal::new(exit, format!("{name} is no proof")).because(error)
        })
    }

    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string_pretty(self).expect("texts and numbers serialize") + "\n"
    }

    /// Checks the proof by the log keys that the reader trusts, and nothing else.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self, trusted: &[Verifier]) -> Result<Shown, String> {
        if self.format != FORMAT {
            return Err(format!("its format is not {FORMAT}"));
        }
        let (entry, _) = Entry::parse(self.entry.as_bytes())
            .map_err(|error| format!("its entry is none: {error}"))?;
        let Body::Segment(segment) = &entry.body else {
            return Err("its entry commits no file".into());
        };
        let name = trusted.first().ok_or("no log key is trusted")?.name();
        let origin = keeper::origin(name, entry.archive);
        let checkpoint = Checkpoint::open(self.checkpoint.as_bytes(), &origin, trusted)
            .map_err(|error| format!("its checkpoint: {error}"))?;
        let in_log = tree::verify_inclusion(
            tree::leaf_hash(self.entry.as_bytes()),
            entry.n,
            checkpoint.size,
            &digests(&self.entry_path)?,
            checkpoint.root,
        );
        if !in_log {
            return Err("its entry is not in the log that the checkpoint is of".into());
        }
        let columns = Columns::parse(self.columns.as_bytes())?;
        if columns.digest() != segment.columns {
            return Err("its columns are not those of the entry".into());
        }
        let cells = unhex(&self.cells).ok_or("its cells are not hexadecimal")?;
        let in_segment = tree::verify_inclusion(
            columns.leaf(&cells),
            self.row,
            segment.rows,
            &digests(&self.row_path)?,
            segment.row_root,
        );
        if !in_segment {
            return Err("its row is not one of those that the entry commits".into());
        }
        let values = columns.decode(&cells)?;
        let names = columns.list().iter().map(|column| column.name.clone());
        Ok(Shown {
            values: names.zip(values).collect(),
            checkpoint,
            row: self.row,
            entry,
        })
    }
}

/// The columns text of this digest.
///
/// # Errors
/// When it is missing or another.
pub fn columns(store: &dyn Store, digest: Digest) -> Result<Columns> {
    let path = layout::columns(digest);
    let bytes = store::get(store, &path)?.filter(|bytes| Digest::of(bytes) == digest);
    let columns = bytes.and_then(|bytes| Columns::parse(&bytes).ok());
    columns.ok_or_else(|| {
        super::verify::violation(format!(
            "`{path}` is missing or altered; run `probity verify`"
        ))
    })
}

/// What a command says that needs a checkpoint where there is none.
#[must_use]
pub fn no_checkpoint() -> Fatal {
    super::verify::violation(
        "there is no checkpoint that a trusted key signed: nothing can be proven. run `probity verify`",
    )
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).expect("a note that was read is text")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let byte = |pair: &[u8; 2]| u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok();
    let is_lower = text.bytes().all(|byte| !byte.is_ascii_uppercase());
    (rest.is_empty() && is_lower).then(|| pairs.iter().map(byte).collect())?
}

fn digests(texts: &[String]) -> Result<Vec<Digest>, String> {
    let parse = |text: &String| Digest::parse(text).ok_or("a hash is not 64 hexadecimal digits");
    Ok(texts.iter().map(parse).collect::<Result<_, _>>()?)
}
