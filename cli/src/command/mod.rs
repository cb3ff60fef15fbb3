//! What users type.

pub mod build;
mod explain;
pub mod image;

pub use explain::ExplainFlags;

mod interrupt;
mod line;

pub use interrupt::Interrupts;
pub use line::{Command, Line, run};

/// All went well.
pub const OK: u8 = 0;
/// What was asked for did not work.
pub const FAILED: u8 = 1;
/// The user gave up: 128 and the number of SIGINT, as shells have it.
pub const CANCELLED: u8 = 130;
