//! Doing one op on one machine: sources, exec, mounts, snapshots, content, the persisted cache, exporters.

mod alike;
pub mod cachestore;
pub mod cdi;
pub mod cgroup;
pub mod checksum;
pub mod clock;
pub mod confine;
pub mod content;
pub mod distribution;
pub mod emulators;
pub mod exec;
pub mod exporter;
pub mod fileop;
pub mod fsync;
pub mod gc;
pub mod images;
pub mod layer;
pub mod limits;
pub mod local_worker;
mod look;
pub mod meta;
pub mod mount;
pub mod network;
pub mod op;
pub mod remotecache;
mod signature;
pub mod snapshot;
pub mod source;
pub mod state;
mod sys;
pub mod userns;

pub use sys::{allocate_from_few_places, give_back_memory};
