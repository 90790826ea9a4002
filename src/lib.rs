//! probity: streaming risk scoring whose every decision can be proven.
//!
//! The modules are listed in the order in which an event meets them; `ARCHITECTURE.md` walks one
//! event through them and says where to change what.

pub mod config;
pub mod error;
pub mod record;

// What a lane does, in order.
pub mod schema;
pub mod source;
pub mod decode;
pub mod features;
pub mod package;
pub mod infer;
pub mod decide;
pub mod evidence;
pub mod publish;
pub mod lane;

// The second role: from the evidence topic to the archive.
pub mod archive;

// Around both.
pub mod admin;
pub mod generate;
pub mod logging;
pub mod metrics;
pub mod native;
pub mod pipeline;
