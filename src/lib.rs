//! probity: streaming risk scoring whose every decision can be proven.
//!
//! The modules are listed in the order in which an event meets them; `ARCHITECTURE.md` walks one
//! event through them and says where to change what.

pub mod config;
pub mod error;
pub mod record;

// What a lane does, in order.
pub mod decide;
pub mod decode;
pub mod evidence;
pub mod features;
pub mod infer;
pub mod lane;
pub mod package;
pub mod publish;
pub mod schema;
pub mod source;

// The second role: from the evidence topic to the archive.
pub mod archive;

// Around both.
pub mod admin;
mod crash;
pub mod generate;
pub mod metrics;
pub mod native;
pub mod pipeline;

pub use crash::crash_point;
