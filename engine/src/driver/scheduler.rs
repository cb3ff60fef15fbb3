//! Stands in until core's scheduler is there: refuses every request by name.

use cooper_core::model::{Failure, RequestId};
use cooper_core::scheduler::{Instruction, Stimulus};

/// Answers each request with a failure that says what is missing.
pub(super) struct Scheduler;

impl Scheduler {
    pub(super) fn new() -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "the real one has state")]
    pub(super) fn handle(&mut self, _now_ns: u64, stimulus: Stimulus) -> Vec<Instruction> {
        let refuse = |request: RequestId| {
            vec![Instruction::Answer {
                request,
                answer: Err(Failure::unsupported("running a graph (core's scheduler)")),
            }]
        };
        match stimulus {
            Stimulus::Wanted { request, .. } | Stimulus::Abandoned { request } => refuse(request),
            Stimulus::JobClosed { .. } | Stimulus::Done { .. } => Vec::new(),
        }
    }
}
