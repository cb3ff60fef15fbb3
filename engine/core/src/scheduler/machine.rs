//! The scheduler's state, the way in and out, and the setters that all else goes through.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use cooper_proto::{Digest, pb, platform};

use super::bug::{Bug, Step};
use super::build::Question;
use super::node::{ByNode, EdgeId, JobNumber, Node, NodeId, NodeKey, Output};
use super::pins::Pins;
use super::state::{Level, Phase, Stage};
use super::{Instruction, Stimulus, Work};
use crate::model::{Failure, JobId, RequestId, ResultId, TaskId};
use crate::ports::InputKey;

/// How many transitions are kept to be told with a fault.
const TRACE: usize = 48;

/// Decides what happens next in all builds of one engine.
///
/// # Model
/// Each vertex that an open job's graph has is a node, shared by all jobs whose graphs agree on it and on all that it
/// stands on. Each output of a node is an edge with a state (see the `state` module). Requests want edges' results;
/// edges want keys or results of their inputs, just as much as they need at the time, and whoever nobody wants rests.
/// Work goes out as tasks; what comes back moves an edge, and all edges that can move then are moved until none can.
///
/// # Contract
/// That of [`Stimulus`] and [`Instruction`]. A call takes time in proportion to the edges that it moves and their
/// inputs; registering a graph takes time in proportion to the graph. Nothing recurses over the graph.
#[derive(Debug)]
pub struct Scheduler {
    pub(super) host: pb::Platform,
    pub(super) now_ns: u64,
    last_id: u64,
    // Maps from hashes are looked up only; what is walked is ordered.
    pub(super) nodes: ByNode<Node>,
    pub(super) interned: HashMap<NodeKey, NodeId>,
    /// Nodes that run or have run, by cache digest and a key of their first input.
    pub(super) live: HashMap<(Digest, Option<InputKey>), Vec<NodeId>>,
    pub(super) jobs: BTreeMap<JobNumber, Job>,
    pub(super) job_numbers: BTreeMap<JobId, JobNumber>,
    pub(super) requests: BTreeMap<RequestId, Request>,
    pub(super) tasks: BTreeMap<TaskId, Purpose>,
    pub(super) pins: Pins,
    queue: VecDeque<EdgeId>,
    pub(super) idle_nodes: Vec<NodeId>,
    pub(super) trace: VecDeque<(u64, EdgeId, &'static str)>,
    pub(super) instructions: Vec<Instruction>,
}

/// A build.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: JobId,
    /// The nodes of its graphs, each once.
    pub(super) nodes: Vec<NodeId>,
    /// Set when a fault of the scheduler hit it.
    pub(super) broken: Option<Failure>,
}

/// An open question.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) job: JobNumber,
    pub(super) edge: EdgeId,
}

/// What a task is for.
#[derive(Debug, Clone)]
pub(super) enum Purpose {
    SourceKey(NodeId),
    Lookup(EdgeId),
    Results(EdgeId),
    Load(EdgeId, ResultId),
    /// The result is in use meanwhile.
    Content(NodeId, usize, ResultId),
    Run(NodeId),
    Save(NodeId),
    /// Nothing waits for it.
    Links(NodeId),
    Forget(NodeId),
}

impl Purpose {
    pub(super) const fn node(&self) -> NodeId {
        match self {
            Self::Lookup(edge) | Self::Results(edge) | Self::Load(edge, _) => edge.node,
            Self::SourceKey(node)
            | Self::Content(node, _, _)
            | Self::Run(node)
            | Self::Save(node)
            | Self::Links(node)
            | Self::Forget(node) => *node,
        }
    }
}

impl Default for Scheduler {
    fn default() -> Self {
        Self::new()
    }
}

impl Scheduler {
    /// A scheduler with no jobs. Ops that name no platform are for the one that this program was compiled for.
    #[must_use]
    pub fn new() -> Self {
        Self::for_platform(platform::host())
    }

    /// A scheduler with no jobs, for a worker of this platform.
    #[must_use]
    pub fn for_platform(host: pb::Platform) -> Self {
        Self {
            host,
            now_ns: 0,
            last_id: 0,
            nodes: ByNode::default(),
            interned: HashMap::new(),
            live: HashMap::new(),
            jobs: BTreeMap::new(),
            job_numbers: BTreeMap::new(),
            requests: BTreeMap::new(),
            tasks: BTreeMap::new(),
            pins: Pins::default(),
            queue: VecDeque::new(),
            idle_nodes: Vec::new(),
            trace: VecDeque::new(),
            instructions: Vec::new(),
        }
    }

    /// Takes one stimulus and says what to do, in order.
    ///
    /// # Units
    /// `now_ns` is in nanoseconds since 1970 and serves traces only.
    pub fn handle(&mut self, now_ns: u64, stimulus: Stimulus) -> Vec<Instruction> {
        self.now_ns = now_ns;
        let step = match stimulus {
            Stimulus::Wanted {
                request,
                job,
                graph,
                edge,
                scope,
                within,
            } => {
                let question = Question {
                    request,
                    graph: &graph,
                    edge: &edge,
                    scope: scope.as_ref(),
                    within,
                };
                self.wanted(job, &question)
            }
            Stimulus::Abandoned { request } => self.abandoned(request),
            Stimulus::JobClosed { job } => self.job_closed(&job),
            Stimulus::Done { task, done } => self.done(task, done),
        };
        self.contain(step);
        self.settle();
        if cfg!(debug_assertions) && self.nodes.len() <= 128 {
            let checked = self.check().map_err(Bug::new);
            self.contain(checked);
        }
        let results = self.pins.take_released();
        if !results.is_empty() {
            self.instructions.push(Instruction::Release { results });
        }
        std::mem::take(&mut self.instructions)
    }

    /// Whether nothing is left: no job, no task, no pin.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
            && self.tasks.is_empty()
            && self.nodes.is_empty()
            && self.requests.is_empty()
            && self.interned.is_empty()
            && self.live.is_empty()
            && self.pins.len() == 0
    }

    /// Moves what can be moved, then lets go of what nobody needs.
    fn settle(&mut self) {
        self.move_all();
        while let Some(node) = self.idle_nodes.pop() {
            let step = self.let_go(node);
            self.contain(step);
            self.move_all();
        }
    }

    /// Moves each edge that can be moved, until none can.
    pub(super) fn move_all(&mut self) {
        while let Some(edge) = self.queue.pop_front() {
            let step = self.look_at(edge);
            self.contain(step);
        }
    }

    fn look_at(&mut self, edge: EdgeId) -> Step {
        // A node may be gone by the time its edge's turn comes.
        if !self.nodes.contains_key(&edge.node) {
            return Ok(());
        }
        self.output_mut(edge)?.queued = false;
        self.advance(edge)
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(super) fn node(&self, node: NodeId) -> Step<&Node> {
        self.nodes
            .get(&node)
            .ok_or_else(|| Bug::new(format!("node {} is gone", node.0)))
    }

    pub(super) fn node_mut(&mut self, node: NodeId) -> Step<&mut Node> {
        self.nodes
            .get_mut(&node)
            .ok_or_else(|| Bug::new(format!("node {} is gone", node.0)))
    }

    pub(super) fn output(&self, edge: EdgeId) -> Step<&Output> {
        usize::try_from(edge.output)
            .ok()
            .and_then(|output| self.nodes.get(&edge.node)?.outputs.get(output))
            .ok_or_else(|| Bug::at(edge.node, format!("there is no output {}", edge.output)))
    }

    pub(super) fn output_mut(&mut self, edge: EdgeId) -> Step<&mut Output> {
        usize::try_from(edge.output)
            .ok()
            .and_then(|output| self.nodes.get_mut(&edge.node)?.outputs.get_mut(output))
            .ok_or_else(|| Bug::at(edge.node, format!("there is no output {}", edge.output)))
    }

    /// All outputs of a node.
    pub(super) fn edges_of(&self, node: NodeId) -> Step<impl Iterator<Item = EdgeId> + use<>> {
        let outputs = self.node(node)?.vertex.outputs;
        Ok((0..outputs).map(move |output| EdgeId { node, output }))
    }

    /// Puts an edge on the list of those to look at.
    pub(super) fn enqueue(&mut self, edge: EdgeId) {
        if let Ok(output) = self.output_mut(edge)
            && !output.queued
        {
            output.queued = true;
            self.queue.push_back(edge);
        }
    }

    pub(super) fn enqueue_all(&mut self, node: NodeId) -> Step {
        for edge in self.edges_of(node)? {
            self.enqueue(edge);
        }
        Ok(())
    }

    /// The one place where an edge's state changes: keeps the node's counts and the trace right.
    pub(super) fn set_phase(&mut self, edge: EdgeId, phase: Phase) -> Step {
        if self.trace.len() == TRACE {
            self.trace.pop_front();
        }
        self.trace.push_back((self.now_ns, edge, phase.name()));
        let output = self.output_mut(edge)?;
        if output.phase.is_final() {
            let old = output.phase.name();
            let new = phase.name();
            return Err(Bug::at(
                edge.node,
                format!("an edge that is {old} became {new}"),
            ));
        }
        let counted = |phase: &Phase| match phase {
            Phase::Waiting(Stage::Fast) => (1, 0),
            Phase::Waiting(Stage::Slow | Stage::Full) => (0, 1),
            Phase::Idle
            | Phase::Looking { .. }
            | Phase::Known(_)
            | Phase::Listing { .. }
            | Phase::Loading { .. }
            | Phase::Running
            | Phase::Saving
            | Phase::Done(_)
            | Phase::Failed(_) => (0, 0),
        };
        let (after, before) = (counted(&phase), counted(&output.phase));
        output.phase = phase;
        let node = self.node_mut(edge.node)?;
        node.waiting_fast = node.waiting_fast + after.0 - before.0;
        node.waiting_content = node.waiting_content + after.1 - before.1;
        Ok(())
    }

    /// Says that an edge can tell more, and wakes those that waited for it.
    pub(super) fn raise(&mut self, edge: EdgeId, level: Level) -> Step {
        let output = self.output_mut(edge)?;
        let before = output.level;
        if level <= before {
            return Ok(());
        }
        output.level = level;
        let woken: Vec<EdgeId> = output
            .dependents
            .iter()
            .filter(|(_, wanted)| **wanted > before && **wanted <= level)
            .map(|(dependent, _)| dependent.edge)
            .collect();
        for edge in woken {
            let dependent = self.output_mut(edge)?;
            dependent.missing = dependent
                .missing
                .checked_sub(1)
                .ok_or_else(|| Bug::at(edge.node, "it waits for less than nothing"))?;
            if dependent.missing == 0 {
                self.enqueue(edge);
            }
        }
        Ok(())
    }

    /// Hands out a piece of work.
    pub(super) fn perform(&mut self, purpose: Purpose, work: Work) -> Step<TaskId> {
        let node = purpose.node();
        self.node_mut(node)?.tasks += 1;
        let task = TaskId(self.next_id());
        let jobs = self.job_ids(node)?;
        self.tasks.insert(task, purpose);
        self.instructions
            .push(Instruction::Perform { task, jobs, work });
        Ok(task)
    }

    /// Takes a task off the books; `None` when it is not on them.
    pub(super) fn finish(&mut self, task: TaskId) -> Step<Option<Purpose>> {
        let Some(purpose) = self.tasks.remove(&task) else {
            return Ok(None);
        };
        let node = purpose.node();
        self.node_mut(node)?.tasks -= 1;
        self.idle_nodes.push(node);
        Ok(Some(purpose))
    }

    /// The jobs that want a node, the first that came first.
    pub(super) fn job_ids(&self, node: NodeId) -> Step<Vec<JobId>> {
        let numbers = self.node(node)?.jobs.keys();
        Ok(numbers
            .filter_map(|number| Some(self.jobs.get(number)?.id.clone()))
            .collect())
    }

    pub(super) fn vertex(&self, node: NodeId) -> Step<Arc<crate::graph::Vertex>> {
        Ok(Arc::clone(&self.node(node)?.vertex))
    }
}
