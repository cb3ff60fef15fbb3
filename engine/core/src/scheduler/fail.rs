//! A failure reaches each vertex that needs the failed one, once.

use std::sync::Arc;

use super::bug::Step;
use super::machine::Scheduler;
use super::node::{NodeId, Run};
use super::state::Phase;
use crate::model::Failure;

impl Scheduler {
    /// A vertex failed by itself.
    pub(super) fn fail(&mut self, id: NodeId, failure: Failure) -> Step {
        if self.node(id)?.failed {
            return Ok(());
        }
        let vertex = self.vertex(id)?;
        let mut failure = failure.of_vertex(&vertex.digest);
        if failure.locations.is_empty() {
            failure.locations.clone_from(&vertex.locations);
        }
        self.tell_failed(id, &failure)?;
        self.spread(id, &Arc::new(failure))
    }

    /// A vertex cannot be built because of one that it needs.
    pub(super) fn fail_of_input(&mut self, id: NodeId, failure: &Arc<Failure>) -> Step {
        self.spread(id, failure)
    }

    /// Fails a node and those that want something of it, one after another.
    fn spread(&mut self, first: NodeId, failure: &Arc<Failure>) -> Step {
        let mut failing = vec![first];
        while let Some(id) = failing.pop() {
            if self.node(id)?.failed {
                continue;
            }
            self.node_mut(id)?.failed = true;
            self.leave_live(id)?;
            for edge in self.edges_of(id)? {
                if self.output(edge)?.phase.result().is_some() {
                    continue;
                }
                self.withdraw(edge)?;
                self.unfollow(edge)?;
                self.set_phase(edge, Phase::Failed(Arc::clone(failure)))?;
                let output = self.output_mut(edge)?;
                output.missing = 0;
                output.wanted = [0; 4];
                let dependents = std::mem::take(&mut output.dependents);
                failing.extend(dependents.keys().map(|dependent| dependent.edge.node));
                for request in std::mem::take(&mut output.requests) {
                    self.requests.remove(&request);
                    self.answer(request, Err(Failure::clone(failure)));
                }
            }
            if let Run::Following(_) = self.node(id)?.run {
                self.node_mut(id)?.run = Run::Idle;
            }
            self.tell_cancelled(id)?;
            self.stop_unwanted(id)?;
        }
        Ok(())
    }
}
