//! File-system states.
//!
//! # Model
//! A state is a chain of layers, each an immutable directory `layers/<id>`; its id is a
//! [`ResultId`](cooper_core::model::ResultId), and the empty chain is scratch. A [`View`] is the
//! chain seen as one read-only directory. A [`Writer`] is the chain with a fresh directory on
//! top that takes the changes; [`Writer::commit`] makes that directory the next layer.
//!
//! # What is mounted
//! Mounts are detached: they live as long as a file descriptor and nothing of them appears in
//! the machine's table of mounts, so a killed process leaves none. A chain of one layer is the
//! directory itself, and a writer on scratch writes straight into its directory.
//!
//! # What a crash leaves
//! A layer is made in `work/`, flushed, renamed into `layers/` and then recorded, in that order.
//! [`Snapshots::open`] removes what has no record.
//!
//! Everything here blocks: call it where that is allowed.

mod error;
mod flatten;
mod flush;
mod normalize;
mod reap;
mod settle;
mod snapshots;
mod snapshotter;
#[cfg(test)]
mod snapshotter_tests;
mod stack;
#[cfg(test)]
mod tests;
mod view;
mod writer;

pub use error::SnapshotError;
pub use flush::Durability;
pub use snapshots::Snapshots;
pub use snapshotter::Snapshotter;
pub use view::View;
pub use writer::Writer;
