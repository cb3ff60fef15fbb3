//! Letting go of what is kept beyond builds.
//!
//! # Model
//! What is kept is in rooms: results, cache mounts, mirrors of clients' directories, repositories. A [`Room`] lists its records and
//! removes them; it never removes one that is in use. The [`Collector`] decides which go (parity sheet C6), and then
//! sweeps what no record needs any more: cache links, layers and blobs.
//!
//! # When it sweeps
//! What a build has put down and nothing refers to yet must not be swept. Whoever does that holds the images'
//! [`crate::images::Gate`]; while anybody is in it, sweeping is left to the next call.
//!
//! # To add a room
//! Implement [`Room`], with a [`Ledger`] for times and counts if you have none of your own, and add it in
//! `local_worker/open.rs`.

mod collector;
mod policy;
mod room;

mod cache_mounts;
mod folders;
mod ledger;
mod plan;
mod results;
mod sweep;

mod error;

#[cfg(test)]
mod tests;

pub use cache_mounts::CacheMountRoom;
pub use collector::Collector;
pub use error::GcError;
pub use folders::FolderRoom;
pub(crate) use folders::{FolderKind, FolderLocks};
pub use ledger::{Ledger, LedgerEntry};
pub use policy::{DiskSpace, DiskState, GcPolicy, GcRule};
pub use results::{ResultRoom, ResultUses};
pub use room::{Room, allocated_bytes};
pub(crate) use sweep::HELD;
