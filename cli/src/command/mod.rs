//! What users type.

pub mod build;
pub mod ctl;
mod dial_stdio;
mod explain;
pub mod image;

pub(crate) use explain::explain_in;
pub use explain::{ExplainFlags, ExplainFormat};

mod follow;

mod interrupt;
mod line;
mod solve_flags;
mod table;
mod unshare;

pub use interrupt::Interrupts;
pub use line::{Command, Line, run};
pub use solve_flags::{ProgressMode, SolveFlags};

/// All went well.
pub const OK: u8 = 0;
/// What was asked for did not work.
pub const FAILED: u8 = 1;
/// The user gave up: 128 and the number of SIGINT, as shells have it.
pub const CANCELLED: u8 = 130;
