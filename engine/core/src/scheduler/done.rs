//! Hands what came back to whoever asked.

use super::WorkDone;
use super::bug::{Bug, Step};
use super::machine::{Purpose, Scheduler};
use crate::model::TaskId;
use crate::ports::OpOutcome;

impl Scheduler {
    /// A task is finished.
    pub(super) fn done(&mut self, task: TaskId, done: WorkDone) -> Step {
        let Some(purpose) = self.finish(task)? else {
            // Nobody waits for it; what it pinned goes back.
            if let WorkDone::Run(OpOutcome::Success(results)) = done {
                for result in results {
                    self.pins.take(&result);
                    self.pins.drop_use(&result);
                }
            }
            return Ok(());
        };
        let node = purpose.node();
        let other = || Bug::at(node, format!("task {} ended as other work", task.0));
        match purpose {
            Purpose::SourceKey(node) => {
                let WorkDone::SourceKey(told) = done else {
                    return Err(other());
                };
                self.on_source_key(node, told)
            }
            Purpose::Lookup(edge) => {
                let WorkDone::Lookup(answer) = done else {
                    return Err(other());
                };
                self.on_lookup(task, edge, answer)
            }
            Purpose::Results(edge) => {
                let WorkDone::Results(listed) = done else {
                    return Err(other());
                };
                self.on_results(task, edge, listed)
            }
            Purpose::Load(edge, result) => {
                let WorkDone::Load(told) = done else {
                    return Err(other());
                };
                self.on_load(task, edge, &result, told)
            }
            Purpose::Content(node, input, result) => {
                self.pins.drop_use(&result);
                let WorkDone::ContentKey(digest) = done else {
                    return Err(other());
                };
                self.on_content(node, input, digest)
            }
            Purpose::Run(node) => {
                let WorkDone::Run(outcome) = done else {
                    return Err(other());
                };
                self.on_run(node, outcome)
            }
            Purpose::Save(node) => {
                let WorkDone::Save(saved) = done else {
                    return Err(other());
                };
                self.on_save(node, saved)
            }
            // Nothing waits for these.
            Purpose::Links(_) | Purpose::Forget(_) => Ok(()),
        }
    }
}
