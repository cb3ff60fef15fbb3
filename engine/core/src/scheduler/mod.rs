//! Decides what happens next. `handle(now, Stimulus) -> Vec<Instruction>` is the only way in or out.

mod protocol;

pub use protocol::{Answer, Instruction, Report, Stimulus, Work, WorkDone};
