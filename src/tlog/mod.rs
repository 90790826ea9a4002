//! Transparency log: trees, proofs, keys, signed notes and tiles, as RFC 6962 and C2SP write them.
//!
//! [`tree`] hashes leaves to a root and proves inclusion and consistency (RFC 6962 §2.1). [`note`] holds
//! Ed25519 keys and signed notes (C2SP signed-note), [`checkpoint`] the signed heads of a log (C2SP
//! tlog-checkpoint). [`tile`] says in which files the hashes and records of a log lie (C2SP tlog-tiles),
//! [`edge`] writes those files as the log grows, and [`reader`] makes proofs from them. Standard tools
//! read all of it: `tests/go` is one.
//!
//! Pure: knows no archive, no store and no clock.

pub mod tree;
pub mod note;
pub mod checkpoint;
pub mod tile;
pub mod edge;
pub mod reader;

pub use checkpoint::Checkpoint;
pub use edge::Edge;
pub use note::{Note, Signer, Verifier};
pub use reader::TileReader;
pub use tile::{Bundle, Tile};
pub use tree::Frontier;
