//! What edges want of their inputs, and of those that run for them.

use std::sync::Arc;

use super::bug::{Bug, Step};
use super::machine::Scheduler;
use super::node::{Dependent, EdgeId, Place, Run};
use super::state::{Level, Phase};
use crate::model::Failure;

impl Scheduler {
    /// Wants levels of all inputs, at least; `Nothing` leaves an input as it is. Gives the failure of an input that
    /// has one, which is then the edge's own.
    pub(super) fn ask(
        &mut self,
        edge: EdgeId,
        level_of: impl Fn(usize) -> Level,
    ) -> Step<Option<Arc<Failure>>> {
        let inputs = self.node(edge.node)?.inputs.len();
        self.output_mut(edge)?.wants.resize(inputs, Level::Nothing);
        for position in 0..inputs {
            let level = level_of(position);
            let input = self.node(edge.node)?.inputs[position];
            let before = self.output(edge)?.wants[position];
            if level > before {
                let dependent = Dependent {
                    edge,
                    place: Place::Input(position),
                };
                self.output_mut(edge)?.wants[position] = level;
                self.change_want(dependent, input, before, level)?;
            }
            if let Phase::Failed(failure) = &self.output(input)?.phase {
                return Ok(Some(Arc::clone(failure)));
            }
        }
        Ok(None)
    }

    /// Wants nothing of the inputs any more.
    pub(super) fn withdraw(&mut self, edge: EdgeId) -> Step {
        let wants = std::mem::take(&mut self.output_mut(edge)?.wants);
        for (position, before) in wants.into_iter().enumerate() {
            if before > Level::Nothing {
                let input = self.node(edge.node)?.inputs[position];
                let dependent = Dependent {
                    edge,
                    place: Place::Input(position),
                };
                self.change_want(dependent, input, before, Level::Nothing)?;
            }
        }
        Ok(())
    }

    /// Waits for the result of the edge that runs for this one.
    pub(super) fn follow(&mut self, edge: EdgeId, leader: EdgeId) -> Step {
        let dependent = Dependent {
            edge,
            place: Place::Leader,
        };
        if self.output(leader)?.dependents.contains_key(&dependent) {
            return Ok(());
        }
        self.change_want(dependent, leader, Level::Nothing, Level::Result)
    }

    /// Does not wait for the edge that runs for this one any more.
    pub(super) fn unfollow(&mut self, edge: EdgeId) -> Step {
        let Run::Following(node) = self.node(edge.node)?.run else {
            return Ok(());
        };
        let leader = EdgeId {
            node,
            output: edge.output,
        };
        let dependent = Dependent {
            edge,
            place: Place::Leader,
        };
        if self.output(leader)?.dependents.contains_key(&dependent) {
            self.change_want(dependent, leader, Level::Result, Level::Nothing)?;
        }
        Ok(())
    }

    /// The one place where a want changes: keeps both sides' counts right, and wakes the side that is asked.
    fn change_want(
        &mut self,
        dependent: Dependent,
        of: EdgeId,
        before: Level,
        after: Level,
    ) -> Step {
        let asked = self.output_mut(of)?;
        let can_tell = asked.level;
        if before > Level::Nothing {
            if asked.dependents.remove(&dependent).is_none() {
                // It failed and has dropped everybody.
                return Ok(());
            }
            asked.wanted[before as usize] -= 1;
        }
        if after > Level::Nothing {
            asked.dependents.insert(dependent, after);
            asked.wanted[after as usize] += 1;
        }
        let waited = before > Level::Nothing && can_tell < before;
        let waits = after > Level::Nothing && can_tell < after;
        let output = self.output_mut(dependent.edge)?;
        output.missing = (output.missing + usize::from(waits))
            .checked_sub(usize::from(waited))
            .ok_or_else(|| Bug::at(dependent.edge.node, "it waits for less than nothing"))?;
        self.enqueue(of);
        if after > Level::Nothing {
            self.tell_late(of)?;
        }
        Ok(())
    }
}
