//! To come.

pub mod archiver;
mod columns;
#[cfg(test)]
mod fixture;
pub mod layout;
pub mod ledger;
pub mod log;
pub mod roll;
pub mod segment;
pub mod store;
mod stream;

/// Who wants to know what the archiver does, for metrics. Called on the archiver's thread.
pub trait Observer: Send + Sync {
    /// A segment was committed and its file is there.
    fn sealed(&self, _segment: &ledger::Segment) {}

    /// A partition waits for an operator.
    fn stopped(&self, _partition: i32, _reason: &str) {}

    /// Bytes of memory that all open segments hold together, about.
    fn open_bytes(&self, _bytes: usize) {}
}

/// Nobody wants to know.
pub struct Nobody;

impl Observer for Nobody {}
