//! This machine as a worker: one state folder, and everything that works on it.

mod blobs;
mod containers;
mod files;
mod open;
mod run;
mod worker;

pub use open::{LocalWorker, OpenError, RuntimeSettings, WorkerSettings};
