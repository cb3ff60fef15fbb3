//! Hands what came back to whoever asked.

use super::bug::{Bug, Step};
use super::machine::{Purpose, Scheduler};
use super::{Stimulus, WorkDone};
use crate::model::TaskId;

impl Scheduler {
    /// A task is finished.
    pub(super) fn done(&mut self, task: TaskId, done: WorkDone) -> Step {
        let purpose = self.finish(task)?;
        let mismatch = |done: &WorkDone| {
            let stimulus = Stimulus::Done {
                task,
                done: done.clone(),
            };
            Err(Bug::new(format!(
                "{purpose:?} was answered by {stimulus:?}"
            )))
        };
        match &purpose {
            Purpose::SourceKey(node) => match done {
                WorkDone::SourceKey(told) => self.on_source_key(*node, told),
                other => mismatch(&other),
            },
            Purpose::Lookup(edge) => match done {
                WorkDone::Lookup(answer) => self.on_lookup(task, *edge, answer),
                other => mismatch(&other),
            },
            Purpose::Results(edge) => match done {
                WorkDone::Results(listed) => self.on_results(task, *edge, listed),
                other => mismatch(&other),
            },
            Purpose::Load(edge, result) => match done {
                WorkDone::Load(here) => self.on_load(task, *edge, result, here),
                other => mismatch(&other),
            },
            Purpose::Content(node, input, result) => {
                self.pins.drop_use(result);
                match done {
                    WorkDone::ContentKey(digest) => self.on_content(*node, *input, digest),
                    other => mismatch(&other),
                }
            }
            Purpose::Run(node) => match done {
                WorkDone::Run(outcome) => self.on_run(*node, outcome),
                other => mismatch(&other),
            },
            Purpose::Save(node) => match done {
                WorkDone::Save(saved) => self.on_save(*node, saved),
                other => mismatch(&other),
            },
            Purpose::Links(_) => match done {
                WorkDone::Save(_) => Ok(()),
                other => mismatch(&other),
            },
            Purpose::Forget(_) => match done {
                WorkDone::Forget => Ok(()),
                other => mismatch(&other),
            },
        }
    }
}
