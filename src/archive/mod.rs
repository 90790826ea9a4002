//! The archive: from the evidence topic to the ledger and Parquet segments; `schemas/ARCHIVE.md`.
//!
//! [`collect`] reads the topic and drives the [`archiver`], which checks that each message joins its
//! [stream](stream), fills an open [`segment`], and commits it: first an entry of the [`ledger`], put if
//! absent under the next number in the [`log`]; then the file that the entry names. The ledger is the
//! lock: clocks, limits and versions of two archivers may differ, and each message still ends in exactly
//! one file. [`layout`] makes every path, [`store`] keeps the objects, [`roll`] decides when a segment
//! is full.
//!
//! What holds at any time, crashes included:
//!
//! - I1. Per stream, entries tile the evidence from its first position to the tip.
//! - I2. Each file under `segments/` has exactly one entry: a plain glob over them doubles nothing.
//! - I3. At most one entry per stream lacks its file, the last.
//! - I4. The evidence of an entry without file is still in Kafka, whence its file is made again.
//!
//! ```text
//! let store = Arc::new(Local::open("archive")?);
//! let summary = archive::run(Args { consumer, origin, store, settings, … })?;
//! ```

pub mod archiver;
pub mod board;
pub mod chronicle;
pub mod collect;
mod columns;
#[cfg(test)]
pub mod fixture;
#[cfg(test)]
mod golden;
mod head;
pub mod keeper;
pub mod layout;
pub mod leaf;
pub mod ledger;
pub mod log;
pub mod operator;
pub mod roll;
pub mod segment;
pub mod store;
mod stream;

use std::time::Duration;

pub use collect::{Args, Summary, run};
pub use log::Origin;
pub use roll::Settings;
pub use store::{Bucket, Local, Store};
pub use stream::Record;

/// Who wants to know what the archiver does, for metrics. Called on the archiver's thread.
pub trait Observer: Send + Sync {
    /// The archiver holds so many partitions.
    fn assigned(&self, _partitions: usize) {}

    /// A message of evidence with so many rows joined its stream.
    fn taken(&self, _partition: i32, _rows: u32) {}

    /// The entry of a segment, or a reseal, was appended to the ledger.
    fn appended(&self, _body: &ledger::Body) {}

    /// A segment was committed and its file is there.
    fn sealed(&self, _segment: &ledger::Segment) {}

    /// A partition waits for an operator.
    fn stopped(&self, _partition: i32, _reason: &str) {}

    /// Bytes of memory that all open segments hold together, about.
    fn open_bytes(&self, _bytes: usize) {}

    /// Age of the oldest evidence that was read and is in no segment of the archive, about once a second.
    fn behind(&self, _age: Duration) {}

    /// An object was put; none: nobody knows whether it is there.
    fn put(&self, _created: Option<store::Created>) {}

    /// The archiver's thread runs: about once a second, and before each call of the store and each wait for it.
    fn alive(&self) {}
}

/// Nobody wants to know.
pub struct Nobody;

impl Observer for Nobody {}
