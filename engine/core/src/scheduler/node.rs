//! What is kept for a vertex and for each of its outputs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use cooper_proto::Digest;

use super::state::{Level, Phase};
use crate::cachekey::MissReason;
use crate::graph::Vertex;
use crate::model::{CacheKeyId, CacheMap, Pin, RequestId, ResultId, TaskId};
use crate::ports::{InputKey, KeyQuery, LookupAnswer};

/// A vertex in the scheduler. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeId(pub(super) u64);

/// Hashes node ids, which are counted up and need no mixing beyond one multiplication.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct NodeIdHasher(u64);

impl Hasher for NodeIdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // The golden ratio spreads neighbours over the whole range, as the map takes bits from both ends.
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// What is kept for nodes. Looked up only, never walked but by checks.
pub(super) type ByNode<T> = HashMap<NodeId, T, BuildHasherDefault<NodeIdHasher>>;

/// A job in the scheduler, in the order of their coming. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct JobNumber(pub(super) u64);

/// One output of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct EdgeId {
    pub(super) node: NodeId,
    pub(super) output: u32,
}

/// What makes two vertices of different graphs the same node: the op, and whether a cached result will do, here and
/// for all that it stands on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct NodeKey {
    pub(super) vertex: Digest,
    pub(super) ignore_cache: bool,
    /// The imported caches that may serve it.
    pub(super) scope: Option<Digest>,
    pub(super) inputs: Vec<NodeId>,
}

/// Who wants something of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Dependent {
    pub(super) edge: EdgeId,
    pub(super) place: Place,
}

/// In what way an edge depends on another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Place {
    /// As its input at this position.
    Input(usize),
    /// As the one that runs for both.
    Leader,
}

/// One alternative key of an edge's state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) id: CacheKeyId,
    /// Whether it means something to the store and to later builds.
    pub(super) lasting: bool,
    /// Whether only an imported cache says that it names the state. Nothing is saved that would make it known by a
    /// key of our own.
    pub(super) imported: bool,
}

/// A job's interest in a node.
#[derive(Debug, Clone)]
pub(super) struct Interest {
    /// The vertex as the job's own graph has it; names may differ from those of other jobs.
    pub(super) vertex: Arc<Vertex>,
    pub(super) told: Told,
}

/// What a job was last told of a vertex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Nothing,
    Started,
    Over,
}

/// Work of a kind that is told to stop when nobody wants it.
#[derive(Debug, Clone)]
pub(super) struct Asking {
    pub(super) task: TaskId,
    pub(super) stopping: bool,
    /// The jobs that it began for; their sessions may be in use.
    pub(super) began_for: BTreeSet<JobNumber>,
}

/// The digest of an input's contents.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Unasked,
    Asking(Asking),
    Known(Digest),
}

/// The execution of a vertex, which all its outputs share.
#[derive(Debug, Clone)]
pub(super) enum Run {
    /// Not begun.
    Idle,
    /// Under way, or told to stop.
    Running {
        asking: Asking,
        /// Pinned for as long as it runs.
        inputs: Vec<ResultId>,
    },
    /// Ended well; the outputs that have no result yet get these.
    Saving { results: Vec<Option<ResultId>> },
    /// Another node runs the same work.
    Following(NodeId),
    /// All outputs have results.
    Over,
}

/// A vertex.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) key: NodeKey,
    pub(super) vertex: Arc<Vertex>,
    pub(super) inputs: Vec<EdgeId>,
    /// How often living nodes have it as an input. It is kept for them.
    pub(super) users: usize,
    /// Tasks under way for it. It is kept for them.
    pub(super) tasks: usize,
    /// The open jobs whose graphs have it, or that have one which it runs for.
    pub(super) jobs: BTreeMap<JobNumber, Interest>,
    /// Its cache maps so far: one, but for a source with several keys.
    pub(super) maps: Vec<CacheMap>,
    /// What its source resolved to.
    pub(super) pin: Option<Pin>,
    /// Whether its key is of one session only.
    pub(super) of_session: bool,
    /// The question for its source's next key.
    pub(super) mapping: Option<Asking>,
    /// Digests of its inputs' contents.
    pub(super) contents: Vec<Content>,
    /// How many of them are being made.
    pub(super) contents_asked: usize,
    pub(super) run: Run,
    /// The build ops of the graphs that its run asked for.
    pub(super) nested: BTreeSet<NodeId>,
    /// How many build ops led to it, at least: none where a client's own graph has it. Counted for build ops.
    pub(super) depth: usize,
    /// Under which keys others find that it runs.
    pub(super) live_keys: Vec<(Digest, Option<InputKey>)>,
    pub(super) failed: bool,
    pub(super) outputs: Vec<Output>,
    /// How many outputs wait for the source's key.
    pub(super) waiting_fast: usize,
    /// How many outputs wait for inputs' contents.
    pub(super) waiting_content: usize,
}

/// An output of a vertex.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) phase: Phase,
    /// What it can tell. Only ever rises.
    pub(super) level: Level,
    /// Its keys, sorted.
    pub(super) keys: Vec<Key>,
    pub(super) requests: BTreeSet<RequestId>,
    pub(super) dependents: BTreeMap<Dependent, Level>,
    /// How many dependents want each level.
    pub(super) wanted: [usize; 4],
    /// What it wants of each input; empty when it wants nothing.
    pub(super) wants: Vec<Level>,
    /// How many inputs cannot tell yet what it wants of them.
    pub(super) missing: usize,
    /// Which of the node's cache maps is looked up next.
    pub(super) next_map: usize,
    /// Inputs whose contents enter the slow key.
    pub(super) plan: Vec<usize>,
    /// What to want of inputs in the slow stage.
    pub(super) slow_wants: Vec<Level>,
    /// The last question put to the store.
    pub(super) asked: Option<KeyQuery>,
    /// What it answered when no key matched, as long as contents of inputs may still match.
    pub(super) missed: Option<LookupAnswer>,
    pub(super) miss: Option<MissReason>,
    /// Whether it waits to be looked at.
    pub(super) queued: bool,
}

impl Output {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Idle,
            level: Level::Nothing,
            keys: Vec::new(),
            requests: BTreeSet::new(),
            dependents: BTreeMap::new(),
            wanted: [0; 4],
            wants: Vec::new(),
            missing: 0,
            next_map: 0,
            plan: Vec::new(),
            slow_wants: Vec::new(),
            asked: None,
            missed: None,
            miss: None,
            queued: false,
        }
    }

    /// How much of it is wanted by anybody.
    pub(super) fn demand(&self) -> Level {
        if !self.requests.is_empty() || self.wanted[Level::Result as usize] > 0 {
            Level::Result
        } else if self.wanted[Level::SlowKeys as usize] > 0 {
            Level::SlowKeys
        } else if self.wanted[Level::FastKeys as usize] > 0 {
            Level::FastKeys
        } else {
            Level::Nothing
        }
    }
}

impl Node {
    pub(super) fn new(key: NodeKey, vertex: Arc<Vertex>) -> Self {
        let inputs = key.inputs.iter().zip(&vertex.inputs);
        Self {
            inputs: inputs
                .map(|(node, edge)| EdgeId {
                    node: *node,
                    output: edge.output,
                })
                .collect(),
            users: 0,
            tasks: 0,
            jobs: BTreeMap::new(),
            maps: Vec::new(),
            pin: None,
            of_session: false,
            mapping: None,
            contents: vec![Content::Unasked; vertex.inputs.len()],
            contents_asked: 0,
            run: Run::Idle,
            nested: BTreeSet::new(),
            depth: usize::MAX,
            live_keys: Vec::new(),
            failed: false,
            outputs: (0..vertex.outputs).map(|_| Output::new()).collect(),
            waiting_fast: 0,
            waiting_content: 0,
            key,
            vertex,
        }
    }

    /// Whether anything at all of it is wanted.
    pub(super) fn is_wanted(&self) -> bool {
        self.outputs
            .iter()
            .any(|output| output.demand() > Level::Nothing)
    }

    /// Whether a result of it is wanted that is not there yet.
    pub(super) fn is_result_wanted(&self) -> bool {
        self.outputs
            .iter()
            .any(|output| output.demand() == Level::Result && !output.phase.is_final())
    }
}
