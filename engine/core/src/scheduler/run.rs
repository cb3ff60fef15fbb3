//! Running a vertex, or leaving it to another that runs the same, and recording what came out.

use std::sync::Arc;

use cooper_proto::Digest;

use super::Work;
use super::bug::{Bug, Step};
use super::look::KnownKey;
use super::machine::{Purpose, Scheduler};
use super::node::{EdgeId, Key, NodeId, Run};
use super::state::{Level, Phase, Stage};
use crate::graph::Vertex;
use crate::model::{CacheKeyId, Failure, FailureKind, Patience, ResultId};
use crate::ports::{InputKey, OpOutcome};

/// How many nodes with the same op on the same first input are looked at for one that runs the same.
const CANDIDATES: usize = 64;

impl Scheduler {
    /// Moves an edge whose inputs are all built and for which no cached result is known.
    pub(super) fn run(&mut self, edge: EdgeId, demand: Level) -> Step<bool> {
        let leader = match &self.node(edge.node)?.run {
            Run::Idle if demand == Level::Result => return self.start(edge.node),
            Run::Idle => None,
            Run::Following(leader) => Some(*leader),
            Run::Running { .. } | Run::Saving { .. } => {
                if demand == Level::Result {
                    // It may have been told to stop and is wanted again.
                    self.tell_started(edge.node)?;
                }
                return Ok(false);
            }
            Run::Over => return Err(Bug::at(edge.node, "it ran and an output has no result")),
        };
        if demand < Level::Result {
            self.unfollow(edge)?;
            self.withdraw(edge)?;
            self.set_phase(edge, Phase::Known(Stage::Slow))?;
            let node = self.node_mut(edge.node)?;
            let is_running = |phase: &Phase| matches!(phase, Phase::Running);
            if !node.outputs.iter().any(|output| is_running(&output.phase)) {
                node.run = Run::Idle;
            }
            return Ok(false);
        }
        if let Some(node) = leader {
            self.take_from(edge, EdgeId { node, ..edge })?;
        }
        Ok(false)
    }

    /// Starts the vertex, or follows one that runs the same.
    fn start(&mut self, id: NodeId) -> Step<bool> {
        if let Some(leader) = self.find_leader(id)? {
            self.node_mut(id)?.run = Run::Following(leader);
            let jobs: Vec<_> = self.node(id)?.jobs.keys().copied().collect();
            for job in jobs {
                self.join(job, leader, None)?;
            }
            return Ok(true);
        }
        let node = self.node(id)?;
        let inputs = node.inputs.iter().map(|input| self.result_of(*input));
        let inputs = inputs.collect::<Step<Vec<ResultId>>>()?;
        let work = Work::Run {
            vertex: self.limited_vertex(id)?,
            inputs: inputs.clone(),
            pin: node.pin.clone(),
        };
        for input in &inputs {
            self.pins.share(input);
        }
        let task = self.perform(Purpose::Run(id), work)?;
        let asking = self.asking(id, task)?;
        self.node_mut(id)?.run = Run::Running { asking, inputs };
        self.enter_live(id)?;
        self.tell_started(id)?;
        Ok(false)
    }

    /// The vertex with the limits of all jobs that want it. What no digest covers may differ between them; one that says
    /// nothing of limits leaves those of the others.
    fn limited_vertex(&self, id: NodeId) -> Step<Arc<Vertex>> {
        let node = self.node(id)?;
        let wanted = node.jobs.values().map(|interest| &interest.vertex);
        let same = wanted.filter(|vertex| vertex.digest == node.vertex.digest);
        let limits = same.clone().filter_map(|vertex| vertex.resources.clone());
        let resources = limits.reduce(|one, two| one.relaxed(&two));
        let patience = same.map(|vertex| vertex.patience).reduce(Patience::relaxed);
        let vertex = &node.vertex;
        let resources = resources.or_else(|| vertex.resources.clone());
        let patience = patience.unwrap_or(vertex.patience);
        if vertex.resources == resources && vertex.patience == patience {
            return self.vertex(id);
        }
        Ok(Arc::new(Vertex {
            resources,
            patience,
            ..Vertex::clone(vertex)
        }))
    }

    /// Takes a result from the edge that runs for this one, or waits for it.
    fn take_from(&mut self, edge: EdgeId, leader: EdgeId) -> Step {
        self.follow(edge, leader)?;
        let output = self.output(leader)?;
        let result = match &output.phase {
            Phase::Done(result) => result.clone(),
            Phase::Failed(failure) => {
                let failure = failure.clone();
                return self.fail_of_input(edge.node, &failure);
            }
            Phase::Idle
            | Phase::Waiting(_)
            | Phase::Looking { .. }
            | Phase::Known(_)
            | Phase::Listing { .. }
            | Phase::Loading { .. }
            | Phase::Running
            | Phase::Saving => return Ok(()),
        };
        let keys = output.keys.clone();
        self.unfollow(edge)?;
        self.pins.share(&result);
        self.output_mut(edge)?.keys = keys;
        self.complete(edge, result)?;
        let node = self.node_mut(edge.node)?;
        if node.outputs.iter().all(|output| output.phase.is_final()) {
            node.run = Run::Over;
        }
        self.tell_cached(edge.node)
    }

    /// A node that runs or has run the same work: same cache digest, and for each input a key in common.
    fn find_leader(&self, id: NodeId) -> Step<Option<NodeId>> {
        let node = self.node(id)?;
        for key in self.live_keys(id)? {
            let candidates = self.live.get(&key).map_or(&[][..], Vec::as_slice);
            for &other in candidates.iter().take(CANDIDATES) {
                let theirs = self.node(other)?;
                let fresh_enough = !node.vertex.ignore_cache || theirs.vertex.ignore_cache;
                if other != id
                    && fresh_enough
                    && theirs.outputs.len() == node.outputs.len()
                    && self.share_input_keys(id, other)?
                    && !self.waits_for(&[other], id)
                {
                    return Ok(Some(other));
                }
            }
        }
        Ok(None)
    }

    fn share_input_keys(&self, a: NodeId, b: NodeId) -> Step<bool> {
        let (of_a, of_b) = (self.node(a)?, self.node(b)?);
        if of_a.inputs.len() != of_b.inputs.len() {
            return Ok(false);
        }
        for input in 0..of_a.inputs.len() {
            let (Some(map_a), Some(map_b)) = (of_a.maps.first(), of_b.maps.first()) else {
                return Ok(false);
            };
            let keys = self.input_keys(a, map_a, input)?;
            let others = self.input_keys(b, map_b, input)?;
            let shared = |key: &KnownKey| others.iter().any(|other| other.key == key.key);
            if !keys.iter().any(shared) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Under what a node is found by others that would run the same.
    fn live_keys(&self, id: NodeId) -> Step<Vec<(Digest, Option<InputKey>)>> {
        let node = self.node(id)?;
        let mut keys = Vec::new();
        for map in &node.maps {
            if node.inputs.is_empty() {
                keys.push((map.digest.clone(), None));
            } else {
                for known in self.input_keys(id, map, 0)? {
                    keys.push((map.digest.clone(), Some(known.key)));
                }
            }
        }
        Ok(keys)
    }

    fn enter_live(&mut self, id: NodeId) -> Step {
        let keys = self.live_keys(id)?;
        for key in &keys {
            self.live.entry(key.clone()).or_default().push(id);
        }
        self.node_mut(id)?.live_keys = keys;
        Ok(())
    }

    /// Others do not find the node any more.
    pub(super) fn leave_live(&mut self, id: NodeId) -> Step {
        for key in std::mem::take(&mut self.node_mut(id)?.live_keys) {
            if let Some(nodes) = self.live.get_mut(&key) {
                nodes.retain(|node| *node != id);
                if nodes.is_empty() {
                    self.live.remove(&key);
                }
            }
        }
        Ok(())
    }

    pub(super) fn on_run(&mut self, id: NodeId, outcome: OpOutcome) -> Step {
        let run = std::mem::replace(&mut self.node_mut(id)?.run, Run::Idle);
        let Run::Running { asking, inputs } = run else {
            return Err(Bug::at(id, "a run ended that did not begin"));
        };
        for input in &inputs {
            self.pins.drop_use(input);
        }
        self.node_mut(id)?.nested.clear();
        let failure = match outcome {
            OpOutcome::Success(results) => return self.ran(id, &results),
            OpOutcome::Cancelled => Failure::new(
                FailureKind::Infrastructure,
                "the worker stopped a step that was still wanted",
            ),
            OpOutcome::Failed(failure) | OpOutcome::Fault(failure) => failure,
        };
        self.leave_live(id)?;
        if self.node(id)?.failed {
            return Ok(());
        }
        if !self.is_worth_another_try(id, &asking, &failure)? {
            return self.fail(id, failure);
        }
        for edge in self.edges_of(id)? {
            if matches!(self.output(edge)?.phase, Phase::Running) {
                self.withdraw(edge)?;
                self.set_phase(edge, Phase::Known(Stage::Slow))?;
            }
            self.enqueue(edge);
        }
        Ok(())
    }

    /// Records what a run gave; each result came with one pin.
    fn ran(&mut self, id: NodeId, results: &[ResultId]) -> Step {
        for result in results {
            self.pins.take(result);
        }
        let node = self.node(id)?;
        if node.failed || results.len() != node.outputs.len() {
            let message = format!(
                "the worker gave {} results for an op of {} outputs",
                results.len(),
                node.outputs.len()
            );
            let failed = node.failed;
            for result in results {
                self.pins.drop_use(result);
            }
            self.leave_live(id)?;
            return match failed {
                true => Ok(()),
                false => self.fail(id, Failure::new(FailureKind::Internal, message)),
            };
        }
        let mut kept = Vec::with_capacity(results.len());
        let mut records = Some(Vec::new());
        for (edge, result) in self.edges_of(id)?.zip(results) {
            if self.output(edge)?.phase.result().is_some() {
                self.pins.drop_use(result);
                kept.push(None);
                continue;
            }
            self.withdraw(edge)?;
            self.set_phase(edge, Phase::Saving)?;
            kept.push(Some(result.clone()));
            for map in 0..self.node(id)?.maps.len() {
                let query = self.saving(edge, map)?;
                let reachable = query.inputs.iter().all(|keys| !keys.is_empty());
                match &mut records {
                    Some(records) if reachable => records.push((query, Some(result.clone()))),
                    Some(_) | None => records = None,
                }
            }
        }
        match records {
            Some(records) if !self.node(id)?.of_session && !records.is_empty() => {
                self.perform(Purpose::Save(id), Work::Save { records })?;
                self.node_mut(id)?.run = Run::Saving { results: kept };
                Ok(())
            }
            // Under keys of one session nothing is found again.
            Some(_) | None => self.finish_run(id, kept, &[]),
        }
    }

    pub(super) fn on_save(&mut self, id: NodeId, saved: Result<Vec<CacheKeyId>, Failure>) -> Step {
        let run = std::mem::replace(&mut self.node_mut(id)?.run, Run::Over);
        let Run::Saving { results } = run else {
            return Err(Bug::at(id, "results were saved that are not there"));
        };
        // A store that cannot be written costs later builds time, not this one its result; but they are told.
        let keys = saved.or_else(|failure| {
            self.tell_unrecorded(id, &failure)?;
            Ok(Vec::new())
        })?;
        self.finish_run(id, results, &keys)
    }

    /// All outputs have results now. `saved` holds keys by output and cache map, or nothing.
    fn finish_run(
        &mut self,
        id: NodeId,
        results: Vec<Option<ResultId>>,
        saved: &[CacheKeyId],
    ) -> Step {
        self.node_mut(id)?.run = Run::Over;
        let maps = self.node(id)?.maps.len().max(1);
        let mut saved = saved.chunks(maps);
        let imported = self.stands_on_claims(id)?;
        let mut miss = None;
        for (edge, result) in self.edges_of(id)?.zip(results) {
            let Some(result) = result else {
                continue;
            };
            let keys: Vec<Key> = match saved.next() {
                Some(keys) => keys
                    .iter()
                    .map(|id| Key {
                        id: id.clone(),
                        lasting: true,
                        imported,
                    })
                    .collect(),
                None => Vec::new(),
            };
            let output = self.output_mut(edge)?;
            output.keys.extend(keys);
            if output.keys.is_empty() {
                output.keys.push(Key {
                    id: key_of_run(edge),
                    lasting: false,
                    imported: false,
                });
            }
            output.keys.sort();
            output.keys.dedup();
            miss = miss.or_else(|| output.miss.clone());
            self.complete(edge, result)?;
        }
        self.tell_ran(id, miss)
    }
}

/// A key for what no store could keep.
fn key_of_run(edge: EdgeId) -> CacheKeyId {
    let (node, output) = (edge.node.0, edge.output);
    CacheKeyId(Digest::sha256_of(format!("of one run: {node}@{output}")))
}
