//! What the scheduler knows of how a job's results were keyed, for an export of the cache. Changes nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cooper_proto::{Digest, pb};

use super::machine::Scheduler;
use super::node::{Content, EdgeId};
use crate::model::{CacheKeyId, Edge, JobId, Pin, ResultId};

/// One output of one vertex with all by which its key is made.
#[derive(Debug, Clone, PartialEq)]
pub struct EdgeRecord {
    /// Its source, when it is one.
    pub source: Option<SourceRecord>,
    /// The vertex.
    pub vertex: Digest,
    /// Cache digests of the op: one, but for a source with several keys.
    pub ops: Vec<Digest>,
    /// Which output.
    pub output: u32,
    /// Its inputs, in the op's order.
    pub inputs: Vec<EdgeInput>,
    /// Whether it means nothing outside of one session.
    pub of_session: bool,
    /// The keys of our own that are known to name its state.
    pub keys: Vec<CacheKeyId>,
    /// Those that imported caches gave.
    pub imported: Vec<CacheKeyId>,
    /// The result, when this build has it.
    pub result: Option<ResultId>,
    /// The imported caches that served it.
    pub scope: Option<Digest>,
}

/// A source among the records.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceRecord {
    /// The vertex.
    pub vertex: Digest,
    /// Its op.
    pub op: Arc<pb::Op>,
    /// What it resolved to.
    pub pin: Option<Pin>,
}

/// An input of an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeInput {
    /// Position of the input among the records, always before that of its user.
    pub edge: usize,
    /// The part of the input that the op looks at.
    pub selector: Option<Digest>,
    /// The digest of the contents that the op looks at, when it was made.
    pub content: Option<Digest>,
}

impl Scheduler {
    /// The records of outputs that a job was answered and of all that they stand on, inputs first; and the positions of
    /// those outputs among them. Outputs that the job has no result of are left out.
    #[must_use]
    pub fn records(&self, job: &JobId, wanted: &[Edge]) -> (Vec<EdgeRecord>, Vec<usize>) {
        let mut walk = Walk {
            scheduler: self,
            records: Vec::new(),
            places: HashMap::new(),
        };
        let roots = wanted.iter().filter_map(|edge| {
            let edge = self.answered(job, edge)?;
            walk.record(edge)
        });
        let roots = roots.collect();
        (walk.records, roots)
    }

    /// What a job's sources resolved to, by their vertices. Sources of which nobody asked for the key are left out.
    #[must_use]
    pub fn pins(&self, job: &JobId) -> BTreeMap<Digest, Pin> {
        let number = self.job_numbers.get(job);
        let Some(job) = number.and_then(|number| self.jobs.get(number)) else {
            return BTreeMap::new();
        };
        let nodes = job.nodes.iter().filter_map(|id| self.nodes.get(id));
        nodes
            .filter_map(|node| Some((node.vertex.digest.clone(), node.pin.clone()?)))
            .collect()
    }

    /// The edge of a job's node that has the result.
    fn answered(&self, job: &JobId, edge: &Edge) -> Option<EdgeId> {
        let job = self.jobs.get(self.job_numbers.get(job)?)?;
        let mut nodes = job.nodes.iter().filter_map(|id| {
            let node = self.nodes.get(id)?;
            let output = usize::try_from(edge.output).ok()?;
            let is_done = node.outputs.get(output)?.phase.result().is_some();
            (node.vertex.digest == edge.vertex && is_done).then_some(EdgeId {
                node: *id,
                output: edge.output,
            })
        });
        nodes.next()
    }
}

struct Walk<'a> {
    scheduler: &'a Scheduler,
    records: Vec<EdgeRecord>,
    places: HashMap<EdgeId, usize>,
}

impl Walk<'_> {
    /// Records an edge after its inputs, without recursion.
    fn record(&mut self, root: EdgeId) -> Option<usize> {
        let mut stack = vec![root];
        while let Some(edge) = stack.last().copied() {
            let node = self.scheduler.nodes.get(&edge.node)?;
            let before = stack.len();
            let unknown = |input: &&EdgeId| !self.places.contains_key(*input);
            stack.extend(node.inputs.iter().filter(unknown));
            if stack.len() > before {
                continue;
            }
            stack.pop();
            if !self.places.contains_key(&edge) {
                let record = self.one(edge)?;
                self.places.insert(edge, self.records.len());
                self.records.push(record);
            }
        }
        self.places.get(&root).copied()
    }

    fn one(&self, edge: EdgeId) -> Option<EdgeRecord> {
        let node = self.scheduler.nodes.get(&edge.node)?;
        let output = node.outputs.get(usize::try_from(edge.output).ok()?)?;
        let rules = node.maps.first().map_or(&[][..], |map| &map.inputs);
        let inputs = node.inputs.iter().enumerate().map(|(position, input)| {
            Some(EdgeInput {
                edge: *self.places.get(input)?,
                selector: rules.get(position).and_then(|rule| rule.selector.clone()),
                content: match &node.contents[position] {
                    Content::Known(digest) => Some(digest.clone()),
                    Content::Unasked | Content::Asking(_) => None,
                },
            })
        });
        let of_kind = |imported: bool| {
            let lasting = output.keys.iter().filter(|key| key.lasting);
            let of_kind = lasting.filter(|key| key.imported == imported);
            of_kind.map(|key| key.id.clone()).collect()
        };
        let is_source = matches!(node.vertex.op.op, Some(pb::op::Op::Source(_)));
        Some(EdgeRecord {
            source: is_source.then(|| SourceRecord {
                vertex: node.vertex.digest.clone(),
                op: Arc::clone(&node.vertex.op),
                pin: node.pin.clone(),
            }),
            vertex: node.vertex.digest.clone(),
            ops: node.maps.iter().map(|map| map.digest.clone()).collect(),
            output: edge.output,
            inputs: inputs.collect::<Option<_>>()?,
            of_session: node.of_session,
            keys: of_kind(false),
            imported: of_kind(true),
            result: output.phase.result().cloned(),
            scope: node.key.scope.clone(),
        })
    }
}
