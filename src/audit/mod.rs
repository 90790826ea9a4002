//! What an auditor does with an archive, offline and without changing it.
//!
//! [`verify`] checks everything or a part and reports findings; [`prove`] makes and checks the proof of one
//! row; [`replay`] decides again what was decided; [`explain`] says why; [`show`] tells the life of one decision.
//! [`ledger`] reads the entries against the keys that the auditor trusts, [`file`] one segment, [`objects`] what rows
//! name; [`archived`] makes models and policies ready, [`decided`] asks the policies again, [`find`] looks events up.
//!
//! Nothing here believes the archive: what is found is compared with what was signed. `schemas/ARCHIVE.md`
//! is the contract, and names the findings.

pub mod archived;
pub mod decided;
pub mod explain;
pub mod file;
pub mod find;
pub mod finding;
pub mod ledger;
pub mod objects;
pub mod prove;
pub mod replay;
pub mod show;
pub mod verify;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::archive::{Local, Store};
use crate::error::{Exit, Fatal, Result};
use crate::keys::{Role, Trust};
use crate::tlog::{Note, Verifier};
use ledger::KeptNote;

/// How results are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Output {
    Text,
    Json,
}

/// Opens the folder of an archive to read it.
///
/// # Errors
/// When there is no such folder, or no archive in it.
pub fn open(folder: &Path) -> Result<Arc<dyn Store>> {
    let is_one = ["archive.json", "ledger"]
        .iter()
        .any(|name| folder.join(name).exists());
    if !is_one {
        return Err(Fatal::new(
            Exit::Usage,
            format!(
                "{} is not the folder of an archive: it has neither archive.json nor ledger/. copy a bucket into a \
                 folder first, for instance with `aws s3 sync`",
                folder.display()
            ),
        ));
    }
    Ok(Arc::new(Local::read(folder)))
}

/// Trusts a single log key, given as text.
///
/// # Errors
/// When the text is no key.
pub fn trust_key(key: &str) -> Result<Trust> {
    let key = Verifier::parse(key)
        .map_err(|error| Fatal::usage(format!("`--key {key}` is no key")).because(error))?;
    Ok(Trust::of_key(Role::Log, key))
}

/// The checkpoint that the auditor kept in this file. Whether it is one of this archive is for the verification.
///
/// # Errors
/// When the file is no signed note.
pub fn kept_checkpoint(file: &Path, note: Bytes) -> Result<KeptNote> {
    let place = file.display().to_string();
    if let Err(error) = Note::parse(&note) {
        let what = format!(
            "{place} is no checkpoint; give a file that you kept, like a copy of the archive's ledger/checkpoint"
        );
        return Err(Fatal::usage(what).because(error));
    }
    Ok(KeptNote { place, note })
}

/// What a command says when there is no such event.
#[must_use]
pub fn nothing_found() -> Fatal {
    Fatal::new(
        Exit::CheckFailed,
        "the archive has no such event; name it by its id, or by topic:partition:offset. one that has only \
         just come may lack its file: try again",
    )
}
