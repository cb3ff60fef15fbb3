use std::collections::BTreeMap;

use cooper_core::model::JobId;

/// What an engine does now and has done since its start, for who watches it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vitals {
    /// Builds that run.
    pub running: Vec<JobId>,
    /// How many builds have ended, by gRPC's number for how; 0 is well.
    pub ended: BTreeMap<i32, u64>,
    /// Sessions of clients that are attached.
    pub sessions: usize,
    /// Tasks that run, by what they are.
    pub tasks: BTreeMap<&'static str, usize>,
}
