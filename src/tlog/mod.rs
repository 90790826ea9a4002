//! Transparency log: trees, proofs, keys and signed notes, as RFC 6962 and C2SP write them.
//!
//! [`tree`] hashes leaves to a root and proves inclusion and consistency (RFC 6962 §2.1). [`note`] holds
//! Ed25519 keys and signed notes (C2SP signed-note), so that standard tools read what we sign.
//!
//! Pure: knows no archive, no store and no clock.

pub mod note;
pub mod tree;

pub use note::{Note, Signer, Verifier};
pub use tree::Frontier;
