//! Decides what happens next. `handle(now, Stimulus) -> Vec<Instruction>` is the only way in or out.
//!
//! * `state`: the states of an edge and what is known in each. Start here.
//! * `machine`: what is kept, the setters that keep it right, and the loop.
//! * `build`: jobs, requests, and which vertices of different graphs are one.
//! * `want`, `advance`: who wants how much of whom, and what an edge does next.
//! * `keys`, `contents`, `look`: where keys come from and what they lead to.
//! * `load`, `run`: a cached result, an execution.
//! * `nested`: graphs that build ops ask for while they run, and why none of them waits for itself.
//! * `records`: what a cache export is told.
//! * `fail`, `tell`, `pins`: failures, reports, results in use.
//! * `check`, `fault`, `bug`: invariants, and what happens when one does not hold.

#![deny(clippy::wildcard_enum_match_arm)]

mod protocol;

mod state;

mod machine;

mod advance;
mod build;
mod contents;
mod done;
mod fail;
mod keys;
mod load;
mod look;
mod nested;
mod records;
mod run;
mod tell;
mod want;

mod bug;
mod check;
mod fault;
mod node;
mod pins;

pub use look::scoped_op;
pub use machine::Scheduler;
pub use protocol::{Answer, Instruction, Report, Stimulus, Within, Work, WorkDone};
pub use records::{EdgeInput, EdgeRecord, SourceRecord};

#[cfg(test)]
mod tests;
