//! What a fault of the scheduler itself does: it fails the builds that it concerns, never the process.

use super::bug::Step;
use super::machine::Scheduler;
use super::node::{EdgeId, JobNumber};
use crate::model::{Failure, RequestId};

impl Scheduler {
    /// A fault fails the builds that it concerns, and no other. What it may have left in disorder is shut off from builds
    /// to come.
    pub(super) fn contain(&mut self, step: Step) {
        let Err(bug) = step else {
            return;
        };
        let failure = bug.failure(self.trace());
        let of_node = bug.node.and_then(|node| self.nodes.get(&node));
        let jobs: Vec<JobNumber> = match of_node {
            Some(node) => node.jobs.keys().copied().collect(),
            None => self.jobs.keys().copied().collect(),
        };
        for job in jobs {
            self.break_job(job, &failure);
        }
        match bug.node {
            // A second fault on the way would say the same.
            Some(node) if self.nodes.contains_key(&node) => {
                let _same = self.fail(node, failure);
            }
            Some(_) | None => self.interned.clear(),
        }
    }

    fn break_job(&mut self, number: JobNumber, failure: &Failure) {
        if let Some(job) = self.jobs.get_mut(&number) {
            job.broken.get_or_insert_with(|| failure.clone());
        }
        let open: Vec<(RequestId, EdgeId)> = self
            .requests
            .iter()
            .filter(|(_, request)| request.job == number)
            .map(|(id, request)| (*id, request.edge))
            .collect();
        for (request, edge) in open {
            self.requests.remove(&request);
            if let Ok(output) = self.output_mut(edge) {
                output.requests.remove(&request);
            }
            self.enqueue(edge);
            self.answer(request, Err(failure.clone()));
        }
    }

    /// The last transitions, for who must find a fault.
    pub(super) fn trace(&self) -> impl Iterator<Item = String> {
        self.trace.iter().map(|(at, edge, phase)| {
            let (node, output) = (edge.node.0, edge.output);
            format!("{at} {node}.{output} {phase}")
        })
    }
}
