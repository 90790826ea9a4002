//! To come.

mod columns;
#[cfg(test)]
mod fixture;
pub mod layout;
pub mod ledger;
pub mod log;
pub mod segment;
pub mod store;
