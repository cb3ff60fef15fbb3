//! The programs `cooper` (command line with an embedded engine) and `cooperd` (the engine as a daemon).

pub mod attach;
pub mod command;
pub mod config;
pub mod progress;
