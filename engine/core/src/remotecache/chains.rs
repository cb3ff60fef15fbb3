use std::collections::BTreeMap;

use cooper_proto::Digest;

use crate::model::ResultId;
use crate::scheduler::EdgeRecord;

/// Records of keys, inputs before those that stand on them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chains {
    /// The records.
    pub records: Vec<ChainRecord>,
}

/// A key: an op's output on states that are known by other keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainRecord {
    /// See [`record_digest`] and [`content_digest`].
    pub digest: Digest,
    /// For each input the keys by which it may be known, sorted.
    pub inputs: Vec<Vec<ChainLink>>,
    /// The result that it leads to.
    pub result: Option<(ResultId, u64)>,
}

/// A key by which an input is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChainLink {
    /// Position of the input's record.
    pub record: usize,
    /// The part of the input that the op looks at.
    pub selector: Option<Digest>,
}

/// How documents name an output of an op (parity sheet B2, as BuildKit's key store does).
#[must_use]
pub fn record_digest(op: &Digest, output: u32) -> Digest {
    Digest::sha256_of(format!("{op}@{output}"))
}

/// How documents name contents: as the output of no op.
#[must_use]
pub fn content_digest(content: &Digest) -> Digest {
    Digest::sha256_of(format!("{content}@-1"))
}

impl Chains {
    /// The records of edges as [`crate::scheduler::Scheduler::records`] lists them. `results` has for each edge the
    /// result that its keys lead to; outputs of sources are not kept, since every builder can get them again.
    #[must_use]
    pub fn of(edges: &[EdgeRecord], results: &[Option<(ResultId, u64)>]) -> Self {
        let mut collecting = Collecting::default();
        // By edge, the records that name its state.
        let mut names: Vec<Vec<usize>> = Vec::with_capacity(edges.len());
        for (position, edge) in edges.iter().enumerate() {
            names.push(match edge.of_session {
                true => Vec::new(),
                false => collecting.edge(edge, &names, results.get(position).cloned().flatten()),
            });
        }
        collecting.chains
    }
}

#[derive(Default)]
struct Collecting {
    chains: Chains,
    known: BTreeMap<(Digest, Vec<Vec<ChainLink>>), usize>,
}

impl Collecting {
    fn edge(
        &mut self,
        edge: &EdgeRecord,
        names: &[Vec<usize>],
        result: Option<(ResultId, u64)>,
    ) -> Vec<usize> {
        let mut inputs = Vec::with_capacity(edge.inputs.len());
        for input in &edge.inputs {
            let mut links: Vec<ChainLink> = names[input.edge]
                .iter()
                .map(|record| ChainLink {
                    record: *record,
                    selector: input.selector.clone(),
                })
                .collect();
            if let Some(content) = &input.content {
                let record = self.add(content_digest(content), Vec::new(), None);
                let selector = None;
                links.push(ChainLink { record, selector });
            }
            if links.is_empty() {
                // Nobody else could ever know this input.
                return Vec::new();
            }
            links.sort();
            links.dedup();
            inputs.push(links);
        }
        let result = result.filter(|_| !inputs.is_empty());
        let ops = edge.ops.iter();
        let digests = ops.map(|op| record_digest(op, edge.output));
        digests
            .map(|digest| self.add(digest, inputs.clone(), result.clone()))
            .collect()
    }

    fn add(
        &mut self,
        digest: Digest,
        inputs: Vec<Vec<ChainLink>>,
        result: Option<(ResultId, u64)>,
    ) -> usize {
        let known = self.known.entry((digest.clone(), inputs.clone()));
        let position = *known.or_insert(self.chains.records.len());
        match self.chains.records.get_mut(position) {
            Some(record) => {
                if record.result.is_none() {
                    record.result = result;
                }
            }
            None => self.chains.records.push(ChainRecord {
                digest,
                inputs,
                result,
            }),
        }
        position
    }
}
