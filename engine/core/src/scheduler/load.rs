//! From a key that matched to a result that is here.

use std::collections::VecDeque;

use super::Work;
use super::bug::{Bug, Step};
use super::machine::{Purpose, Scheduler};
use super::node::EdgeId;
use super::state::{Level, Phase, Stage};
use crate::cachekey::MissReason;
use crate::model::{CacheKeyId, Failure, ResultId, TaskId};
use crate::ports::CachedResult;

impl Scheduler {
    /// Asks for results under an edge's keys.
    pub(super) fn list(&mut self, edge: EdgeId, stage: Stage) -> Step {
        let of_kind = |imported: bool| -> Step<Vec<CacheKeyId>> {
            let lasting = self.output(edge)?.keys.iter().filter(|key| key.lasting);
            let of_kind = lasting.filter(|key| key.imported == imported);
            Ok(of_kind.map(|key| key.id.clone()).collect())
        };
        let work = Work::Results {
            keys: of_kind(false)?,
            imported: of_kind(true)?,
            scope: self.node(edge.node)?.key.scope.clone(),
        };
        let task = self.perform(Purpose::Results(edge), work)?;
        self.set_phase(edge, Phase::Listing { stage, task })
    }

    pub(super) fn on_results(
        &mut self,
        task: TaskId,
        edge: EdgeId,
        listed: Result<Vec<CachedResult>, Failure>,
    ) -> Step {
        let Phase::Listing { stage, task: asked } = self.output(edge)?.phase else {
            return Ok(());
        };
        if asked != task {
            return Ok(());
        }
        match listed {
            Ok(listed) => self.load(edge, stage, listed.into()),
            Err(_) => {
                self.output_mut(edge)?.miss = Some(MissReason::StoreFailed);
                self.build_instead(edge, stage)
            }
        }
    }

    /// Tries the first of some results.
    fn load(&mut self, edge: EdgeId, stage: Stage, mut rest: VecDeque<CachedResult>) -> Step {
        let Some(CachedResult {
            result, imported, ..
        }) = rest.pop_front()
        else {
            let output = self.output_mut(edge)?;
            output.miss.get_or_insert(MissReason::ResultGone);
            return self.build_instead(edge, stage);
        };
        let purpose = Purpose::Load(edge, result.clone());
        let work = Work::Load {
            result: result.clone(),
        };
        let task = self.perform(purpose, work)?;
        let phase = Phase::Loading {
            stage,
            task,
            imported,
            rest,
        };
        self.set_phase(edge, phase)
    }

    pub(super) fn on_load(
        &mut self,
        task: TaskId,
        edge: EdgeId,
        result: &ResultId,
        told: Result<bool, Failure>,
    ) -> Step {
        let here = told == Ok(true);
        if here {
            self.pins.take(result);
        }
        // What cannot be looked at now may be there: its record stays.
        if told == Ok(false) {
            let work = Work::Forget {
                result: result.clone(),
            };
            self.perform(Purpose::Forget(edge.node), work)?;
        }
        let loading = match &self.output(edge)?.phase {
            Phase::Loading {
                stage,
                task: asked,
                imported,
                rest,
            } if *asked == task => Some((*stage, *imported, rest.clone())),
            Phase::Idle
            | Phase::Waiting(_)
            | Phase::Looking { .. }
            | Phase::Known(_)
            | Phase::Listing { .. }
            | Phase::Loading { .. }
            | Phase::Running
            | Phase::Saving
            | Phase::Done(_)
            | Phase::Failed(_) => None,
        };
        let Some((stage, imported, rest)) = loading else {
            // The vertex ran for the sake of another output meanwhile, or failed.
            if here {
                self.pins.drop_use(result);
            }
            return Ok(());
        };
        if here {
            if imported {
                // Keys of our own promise something else than what somebody says of this state.
                self.output_mut(edge)?.keys.retain(|key| key.imported);
            }
            self.complete(edge, result.clone())?;
            self.tell_cached(edge.node)
        } else {
            if told.is_err() {
                self.output_mut(edge)?.miss = Some(MissReason::StoreFailed);
            }
            self.load(edge, stage, rest)
        }
    }

    /// No result can be had under the keys: the inputs are needed, or the vertex must run.
    fn build_instead(&mut self, edge: EdgeId, stage: Stage) -> Step {
        match stage {
            Stage::Fast | Stage::Slow => {
                if self.output(edge)?.demand() == Level::Result {
                    self.begin(edge, Stage::Full, |_| Level::Result)?;
                } else {
                    self.set_phase(edge, Phase::Known(Stage::Slow))?;
                }
            }
            Stage::Full => self.set_phase(edge, Phase::Running)?,
        }
        self.enqueue(edge);
        Ok(())
    }

    /// An edge has its result, one use of which is the edge's. Answers who waits for it.
    pub(super) fn complete(&mut self, edge: EdgeId, result: ResultId) -> Step {
        self.withdraw(edge)?;
        let output = self.output_mut(edge)?;
        if output.missing > 0 {
            return Err(Bug::at(edge.node, "it is done and still waits"));
        }
        output.asked = None;
        output.missed = None;
        output.plan = Vec::new();
        output.slow_wants = Vec::new();
        let requests = std::mem::take(&mut output.requests);
        self.set_phase(edge, Phase::Done(result.clone()))?;
        for request in requests {
            self.requests.remove(&request);
            self.answer(request, Ok(result.clone()));
        }
        self.raise(edge, Level::Result)?;
        self.enqueue(edge);
        Ok(())
    }
}
