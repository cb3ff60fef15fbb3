//! Hands what came back to whoever asked.

use super::WorkDone;
use super::bug::{Bug, Step};
use super::machine::{Purpose, Scheduler};
use crate::model::TaskId;

impl Scheduler {
    /// A task is finished.
    pub(super) fn done(&mut self, task: TaskId, done: WorkDone) -> Step {
        let purpose = self.finish(task)?;
        let other = || Bug::new(format!("task {} ended as another kind of work", task.0));
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
                let WorkDone::Load(here) = done else {
                    return Err(other());
                };
                self.on_load(task, edge, &result, here)
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
