//! The programs `cooper` (command line with an embedded engine) and `cooperd` (the engine as a daemon).
//!
//! * [`command`]: what users type.
//! * [`client`]: an engine in this process, or one that another process serves.
//! * [`attach`]: the client's side of a build.
//! * [`progress`]: what users see of it.
//! * [`daemon`]: how engines are made.
//! * [`config`]: what is read of the world, once.
//! * [`rights`]: what a program does to have rights over files and mounts.

pub mod attach;
pub mod client;
pub mod command;
pub mod config;
pub mod daemon;
pub mod log;
pub mod progress;
pub mod rights;
