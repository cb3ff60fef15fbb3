use std::collections::{BTreeMap, BTreeSet};

use cooper_proto::Digest;

use super::origins::{Origin, Origins};
use crate::model::{CacheKeyId, ResultId};
use crate::ports::InputKey;
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
    /// result that its keys lead to; outputs of sources are not kept, since every builder can get them again. What
    /// `origins` tells of the edges' keys is added: by which other keys their inputs may be known.
    #[must_use]
    pub fn of(
        edges: &[EdgeRecord],
        results: &[Option<(ResultId, u64)>],
        origins: &Origins,
    ) -> Self {
        let mut collecting = Collecting {
            chains: Self::default(),
            known: BTreeMap::new(),
            origins,
            by_key: BTreeMap::new(),
            open: BTreeSet::new(),
        };
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

struct Collecting<'a> {
    chains: Chains,
    known: BTreeMap<(Digest, Vec<Vec<ChainLink>>), usize>,
    origins: &'a Origins,
    /// The records that stand for keys.
    by_key: BTreeMap<CacheKeyId, Vec<usize>>,
    /// Keys whose records are being made. A key can be among those that it is made of: an output that is equal to an
    /// input has the input's keys.
    open: BTreeSet<CacheKeyId>,
}

impl Collecting<'_> {
    fn edge(
        &mut self,
        edge: &EdgeRecord,
        names: &[Vec<usize>],
        result: Option<(ResultId, u64)>,
    ) -> Vec<usize> {
        let keys: Vec<&CacheKeyId> = edge.keys.iter().chain(&edge.imported).collect();
        self.open.extend(keys.iter().copied().cloned());
        let mut inputs = Vec::with_capacity(edge.inputs.len());
        for (position, input) in edge.inputs.iter().enumerate() {
            let of_state = names[input.edge].iter().map(|record| ChainLink {
                record: *record,
                selector: input.selector.clone(),
            });
            let mut links: Vec<ChainLink> = of_state.collect();
            if let Some(content) = &input.content {
                let record = self.add(content_digest(content), Vec::new(), None);
                let selector = None;
                links.push(ChainLink { record, selector });
            }
            for key in &keys {
                links.extend(self.remembered(key, edge.inputs.len(), position));
            }
            inputs.push(sorted(links));
        }
        self.open.clear();
        if inputs.iter().any(Vec::is_empty) {
            // Nobody else could ever know that input.
            return Vec::new();
        }
        let result = result.filter(|_| !inputs.is_empty());
        let ops = edge.ops.iter();
        let digests = ops.map(|op| record_digest(op, edge.output));
        let records: Vec<usize> = digests
            .map(|digest| self.add(digest, inputs.clone(), result.clone()))
            .collect();
        for key in keys {
            let of_key = self.by_key.entry(key.clone()).or_default();
            of_key.extend(&records);
        }
        records
    }

    /// By what an input of a key's op was known when the key was recorded.
    fn remembered(&mut self, key: &CacheKeyId, inputs: usize, position: usize) -> Vec<ChainLink> {
        let origins = self.origins.of(key).iter();
        let alike = origins.filter(|origin| origin.inputs.len() == inputs);
        let keys: Vec<&InputKey> = alike.flat_map(|origin| &origin.inputs[position]).collect();
        for input in &keys {
            self.record_key(&input.key);
        }
        self.links(keys)
    }

    fn links<'k>(&self, keys: impl IntoIterator<Item = &'k InputKey>) -> Vec<ChainLink> {
        let mut links = Vec::new();
        for input in keys {
            let records = self.by_key.get(&input.key).into_iter().flatten();
            links.extend(records.map(|record| ChainLink {
                record: *record,
                selector: input.selector.clone(),
            }));
        }
        links
    }

    /// Makes records of a key that is of no edge, after those that it stands on. Without recursion: a chain is as long
    /// as somebody made it.
    fn record_key(&mut self, root: &CacheKeyId) {
        let origins = self.origins;
        let mut stack = vec![(root, false)];
        while let Some((key, is_ready)) = stack.pop() {
            if is_ready {
                self.record_origins(key);
            } else if !self.by_key.contains_key(key) && self.open.insert(key.clone()) {
                stack.push((key, true));
                let inputs = origins.of(key).iter().flat_map(Origin::keys);
                stack.extend(inputs.map(|input| (input, false)));
            }
        }
    }

    fn record_origins(&mut self, key: &CacheKeyId) {
        let mut records = Vec::new();
        for origin in self.origins.of(key) {
            let inputs = origin.inputs.iter();
            let inputs: Vec<_> = inputs.map(|keys| sorted(self.links(keys))).collect();
            if inputs.iter().all(|links| !links.is_empty()) {
                records.push(self.add(origin.digest.clone(), inputs, None));
            }
        }
        self.by_key.insert(key.clone(), records);
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

fn sorted(mut links: Vec<ChainLink>) -> Vec<ChainLink> {
    links.sort();
    links.dedup();
    links
}
