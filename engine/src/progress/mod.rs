//! What happened in a build: one log a build, written as it happens and read by any number of followers.
//!
//! The file is the log. Followers read it at their own pace from its start, so that a slow client holds up nobody,
//! a late one misses nothing, and memory does not grow with the output of a step.

mod clip;
mod follow;
mod frame;
mod log;
mod scope;
mod sink;
mod summary;
mod vertices;
mod wire;

pub use clip::OutputLimits;
pub use follow::{StatusStream, replay};
pub use summary::{BuildSummary, VertexSummary};

pub(crate) use clip::clip;
pub(crate) use log::{JobLog, VertexHead};
pub(crate) use scope::VertexScope;
pub(crate) use sink::{Audience, VertexEvents};
pub(crate) use wire::{location_source, miss_kind, miss_text, timestamp};
