//! Jobs and requests: what comes in from builds, and what their end lets go.

use std::collections::btree_map::Entry;
use std::sync::Arc;

use cooper_proto::{Digest, pb};

use super::bug::{Bug, Step};
use super::machine::{Job, Request, Scheduler};
use super::node::{EdgeId, Interest, JobNumber, Node, NodeId, NodeKey, Run, Told};
use super::state::Phase;
use super::{Answer, Instruction, Within};
use crate::graph::{Graph, Vertex};
use crate::model::{Edge, Failure, FailureKind, JobId, RequestId};

/// What a job asks; see [`super::Stimulus::Wanted`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) request: RequestId,
    pub(super) graph: &'a Graph,
    pub(super) edge: &'a Edge,
    pub(super) scope: Option<&'a Digest>,
    pub(super) within: Option<Within>,
}

/// The nodes of a graph.
struct Registered {
    target: NodeId,
    /// Those of build ops.
    builds: Vec<NodeId>,
}

impl Scheduler {
    /// A job asks for an edge.
    pub(super) fn wanted(&mut self, job: JobId, question: &Question<'_>) -> Step {
        let Question {
            request,
            graph,
            edge,
            scope,
            within,
        } = *question;
        let job = self.job_number(job);
        let outputs = graph
            .vertices
            .get(&edge.vertex)
            .map(|vertex| vertex.outputs);
        let refused = if self.requests.contains_key(&request) {
            Some(internal(format!("request {} is open already", request.0)))
        } else if outputs.is_none_or(|outputs| edge.output >= outputs) {
            let (vertex, output) = (&edge.vertex, edge.output);
            Some(internal(format!(
                "the graph has no output {output} of {vertex}"
            )))
        } else {
            self.jobs.get(&job).and_then(|job| job.broken.clone())
        };
        if let Some(failure) = refused {
            self.answer(request, Err(failure));
            return Ok(());
        }
        let nodes = match self.register(job, graph, &edge.vertex, scope) {
            Ok(nodes) => nodes,
            Err(bug) => {
                let failure = bug.failure(self.trace());
                self.answer(request, Err(failure));
                return Ok(());
            }
        };
        if let Err(failure) = self.nest(within, &nodes.builds)? {
            self.answer(request, Err(failure));
            return Ok(());
        }
        let node = nodes.target;
        let output = edge.output;
        let edge = EdgeId { node, output };
        match &self.output(edge)?.phase {
            Phase::Done(result) => {
                let result = result.clone();
                self.tell_late(edge)?;
                self.answer(request, Ok(result));
            }
            Phase::Failed(failure) => {
                let failure = Failure::clone(failure);
                self.answer(request, Err(failure));
            }
            Phase::Idle
            | Phase::Waiting(_)
            | Phase::Looking { .. }
            | Phase::Known(_)
            | Phase::Listing { .. }
            | Phase::Loading { .. }
            | Phase::Running
            | Phase::Saving => {
                self.requests.insert(request, Request { job, edge });
                self.output_mut(edge)?.requests.insert(request);
                self.enqueue(edge);
            }
        }
        Ok(())
    }

    /// Nobody waits for an answer any more; one that was given already is no fault.
    pub(super) fn abandoned(&mut self, request: RequestId) -> Step {
        let Some(Request { edge, .. }) = self.requests.remove(&request) else {
            return Ok(());
        };
        self.output_mut(edge)?.requests.remove(&request);
        let cancelled = Failure::new(FailureKind::Cancelled, "the build was cancelled");
        self.answer(request, Err(cancelled));
        self.enqueue(edge);
        Ok(())
    }

    /// A build is over.
    pub(super) fn job_closed(&mut self, job: &JobId) -> Step {
        let Some(number) = self.job_numbers.get(job).copied() else {
            return Ok(());
        };
        let open: Vec<RequestId> = self
            .requests
            .iter()
            .filter(|(_, request)| request.job == number)
            .map(|(id, _)| *id)
            .collect();
        for request in open {
            self.abandoned(request)?;
        }
        // What stops for want of interest is told to the job as long as it is there.
        self.move_all();
        let nodes = self
            .jobs
            .get_mut(&number)
            .map(|job| std::mem::take(&mut job.nodes));
        for node in nodes.unwrap_or_default() {
            self.tell_leaving(number, node)?;
            self.node_mut(node)?.jobs.remove(&number);
            self.tell_audience(node)?;
            self.idle_nodes.push(node);
        }
        self.job_numbers.remove(job);
        self.jobs.remove(&number);
        Ok(())
    }

    pub(super) fn answer(&mut self, request: RequestId, answer: Answer) {
        self.instructions
            .push(Instruction::Answer { request, answer });
    }

    fn job_number(&mut self, id: JobId) -> JobNumber {
        if let Some(number) = self.job_numbers.get(&id) {
            return *number;
        }
        let number = JobNumber(self.next_id());
        self.job_numbers.insert(id.clone(), number);
        let job = Job {
            id,
            nodes: Vec::new(),
            broken: None,
        };
        self.jobs.insert(number, job);
        number
    }

    /// Makes a vertex and all that it stands on known, and says its node.
    fn register(
        &mut self,
        job: JobNumber,
        graph: &Graph,
        target: &Digest,
        scope: Option<&Digest>,
    ) -> Step<Registered> {
        let unsound = || Bug::new("a graph is not in order");
        let last = graph.vertices.get_index_of(target).ok_or_else(unsound)?;
        let mut inputs = vec![None; last + 1];
        inputs[last] = Some(Vec::new());
        // Users come after their inputs, so that one walk from the end finds all that the target needs.
        for index in (0..=last).rev() {
            if inputs[index].is_none() {
                continue;
            }
            let (_, vertex) = graph.vertices.get_index(index).ok_or_else(unsound)?;
            let mut positions = Vec::with_capacity(vertex.inputs.len());
            for input in &vertex.inputs {
                let position = graph.vertices.get_index_of(&input.vertex);
                let position = position.filter(|at| *at < index).ok_or_else(unsound)?;
                inputs[position].get_or_insert_default();
                positions.push(position);
            }
            inputs[index] = Some(positions);
        }
        let mut nodes = vec![None; last + 1];
        let mut builds = Vec::new();
        for (index, positions) in inputs.into_iter().enumerate() {
            let Some(positions) = positions else {
                continue;
            };
            let (_, vertex) = graph.vertices.get_index(index).ok_or_else(unsound)?;
            let inputs: Option<Vec<NodeId>> = positions.into_iter().map(|at| nodes[at]).collect();
            let key = NodeKey {
                vertex: vertex.digest.clone(),
                ignore_cache: vertex.ignore_cache,
                scope: scope.cloned(),
                inputs: inputs.ok_or_else(unsound)?,
            };
            let node = self.intern(job, vertex, key)?;
            if matches!(vertex.op.op, Some(pb::op::Op::Build(_))) {
                builds.push(node);
            }
            nodes[index] = Some(node);
        }
        let target = nodes[last].ok_or_else(unsound)?;
        Ok(Registered { target, builds })
    }

    /// The node of a vertex: the one that is there, unless another job saw it fail.
    fn intern(&mut self, job: JobNumber, vertex: &Arc<Vertex>, key: NodeKey) -> Step<NodeId> {
        let known = self.interned.get(&key).copied().filter(|id| {
            let node = self.nodes.get(id);
            node.is_some_and(|node| !node.failed || node.jobs.contains_key(&job))
        });
        let id = match known {
            Some(id) => id,
            None => self.create(key, vertex)?,
        };
        self.join(job, id, Some(vertex))?;
        Ok(id)
    }

    fn create(&mut self, key: NodeKey, vertex: &Arc<Vertex>) -> Step<NodeId> {
        let id = NodeId(self.next_id());
        for input in &key.inputs {
            self.node_mut(*input)?.users += 1;
        }
        self.interned.insert(key.clone(), id);
        self.nodes.insert(id, Node::new(key, Arc::clone(vertex)));
        Ok(id)
    }

    /// A job takes an interest in a node, and in the one that runs for it. `vertex` is what the job calls it.
    pub(super) fn join(
        &mut self,
        job: JobNumber,
        mut id: NodeId,
        mut vertex: Option<&Arc<Vertex>>,
    ) -> Step {
        loop {
            let node = self.node_mut(id)?;
            let leader = match node.run {
                Run::Following(leader) => Some(leader),
                Run::Idle | Run::Running { .. } | Run::Saving { .. } | Run::Over => None,
            };
            if let Entry::Vacant(place) = node.jobs.entry(job) {
                place.insert(Interest {
                    vertex: Arc::clone(vertex.take().unwrap_or(&node.vertex)),
                    told: Told::Nothing,
                });
                if let Some(job) = self.jobs.get_mut(&job) {
                    job.nodes.push(id);
                }
                self.tell_audience(id)?;
                self.tell_of_work(job, id)?;
            }
            match leader {
                Some(leader) => (id, vertex) = (leader, None),
                None => return Ok(()),
            }
        }
    }

    /// Removes a node that no job, task or other node needs.
    pub(super) fn let_go(&mut self, id: NodeId) -> Step {
        let Some(node) = self.nodes.get(&id) else {
            return Ok(());
        };
        let followed = node
            .outputs
            .iter()
            .any(|output| !output.dependents.is_empty());
        if !node.jobs.is_empty() || node.users > 0 || node.tasks > 0 || followed {
            return Ok(());
        }
        self.leave_live(id)?;
        for edge in self.edges_of(id)? {
            self.withdraw(edge)?;
        }
        let Some(node) = self.nodes.remove(&id) else {
            return Ok(());
        };
        if self.interned.get(&node.key) == Some(&id) {
            self.interned.remove(&node.key);
        }
        for output in &node.outputs {
            if let Some(result) = output.phase.result() {
                self.pins.drop_use(result);
            }
        }
        for input in &node.inputs {
            let input_node = self.node_mut(input.node)?;
            input_node.users = input_node
                .users
                .checked_sub(1)
                .ok_or_else(|| Bug::at(input.node, "it has less than no users"))?;
            self.idle_nodes.push(input.node);
        }
        Ok(())
    }
}

fn internal(message: String) -> Failure {
    Failure::new(FailureKind::Internal, message)
}
