//! To come.

pub mod layout;
pub mod ledger;
pub mod log;
pub mod store;
