//! probity: streaming risk scoring whose every decision can be proven.
//!
//! The modules are listed in the order in which an event meets them; `ARCHITECTURE.md` walks one
//! event through them and says where to change what.

/// A batch is many small arrays, and a small batch little else: the system's allocator takes a quarter of
/// its time (`benches/README.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

// The words, and what everybody reads.
pub mod config;
pub mod error;
pub mod record;
pub mod keys;
pub mod batch;

// What a lane does, in order.
pub mod schema;
pub mod source;
pub mod decode;
pub mod features;
pub mod package;
pub mod infer;
pub mod decide;
pub mod explain;
pub mod shadow;
pub mod stages;
pub mod evidence;
pub mod publish;
pub mod lane;

// The second role: from the evidence topic to the archive.
pub mod tlog;
pub mod archive;

// For who does not trust us.
pub mod audit;

// Around both.
pub mod topics;
pub mod setup;
pub mod succession;
pub mod pipeline;
pub mod check;
pub mod model;
pub mod metrics;
pub mod drift;
pub mod admin;
pub mod logging;
pub mod generate;
pub mod demo;
pub mod score;
pub mod sink;
pub mod native;
pub mod clock;
pub mod laps;
pub mod patience;
pub mod words;
pub mod crash;
