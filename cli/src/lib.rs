//! The programs `cooper` (command line with an embedded engine) and `cooperd` (the engine as a daemon).

pub mod command;
pub mod progress;
