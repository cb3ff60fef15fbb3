//! `cooper ctl`: what buildctl does, under the same names.

mod flags;
mod run;

mod build;
mod build_flags;
mod dump;
mod history;
mod policy;
mod usage;
mod workers;

mod graph;
mod json;

pub use flags::{
    CtlCommand, CtlFlags, DebugCommand, DuFlags, HistoriesFlags, LogsFlags, PruneFlags,
};
pub(super) use run::{du, histories, logs, prune, run};
