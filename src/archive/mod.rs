//! To come.

pub mod layout;
pub mod store;
