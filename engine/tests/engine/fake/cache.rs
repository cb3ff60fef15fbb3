use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use cooper_core::model::{CacheKeyId, Failure, ResultId};
use cooper_core::ports::{CacheStore, CachedResult, InputKey, KeyQuery, LookupAnswer};
use cooper_proto::Digest;
use parking_lot::Mutex;

type Link = (Digest, u32, usize, InputKey);

#[derive(Default)]
struct State {
    ops: BTreeSet<Digest>,
    links: BTreeMap<Link, BTreeSet<CacheKeyId>>,
    roots: BTreeMap<(Digest, u32), CacheKeyId>,
    results: BTreeMap<CacheKeyId, Vec<ResultId>>,
}

/// A cache that forgets when it is dropped.
#[derive(Default)]
pub(crate) struct FakeCache(Mutex<State>);

impl State {
    fn keys_of(&self, query: &KeyQuery, place: usize) -> BTreeSet<CacheKeyId> {
        query.inputs[place]
            .iter()
            .filter_map(|input| {
                let link = (query.op.clone(), query.output, place, input.clone());
                self.links.get(&link)
            })
            .flatten()
            .cloned()
            .collect()
    }

    fn lookup(&self, query: &KeyQuery) -> LookupAnswer {
        let found: Vec<_> = (0..query.inputs.len())
            .map(|place| self.keys_of(query, place))
            .collect();
        let root = root(query);
        let keys = match found.split_first() {
            None => self
                .roots
                .values()
                .filter(|key| **key == root)
                .cloned()
                .collect(),
            Some((first, rest)) => first
                .iter()
                .filter(|key| rest.iter().all(|keys| keys.contains(key)))
                .cloned()
                .collect(),
        };
        LookupAnswer {
            keys,
            op_known: self.ops.contains(&query.op),
            inputs_known: found.iter().map(|keys| !keys.is_empty()).collect(),
            imported: Vec::new(),
        }
    }
}

fn root(query: &KeyQuery) -> CacheKeyId {
    CacheKeyId(Digest::sha256_of(format!("{query:?}")))
}

#[async_trait]
impl CacheStore for FakeCache {
    async fn lookup(&self, query: &KeyQuery) -> Result<LookupAnswer, Failure> {
        Ok(self.0.lock().lookup(query))
    }

    async fn results(&self, key: &CacheKeyId) -> Result<Vec<CachedResult>, Failure> {
        let state = self.0.lock();
        let results = state.results.get(key).into_iter().flatten();
        let cached = |result: &ResultId| CachedResult {
            result: result.clone(),
            created_ns: 1,
            imported: false,
        };
        Ok(results.map(cached).collect())
    }

    async fn save(
        &self,
        query: &KeyQuery,
        result: Option<&ResultId>,
    ) -> Result<CacheKeyId, Failure> {
        let mut state = self.0.lock();
        let known = state.lookup(query).keys.into_iter().next();
        let key = known.unwrap_or_else(|| root(query));
        state.ops.insert(query.op.clone());
        if query.inputs.is_empty() {
            let root = (query.op.clone(), query.output);
            state.roots.insert(root, key.clone());
        }
        for (place, alternatives) in query.inputs.iter().enumerate() {
            for input in alternatives {
                let link = (query.op.clone(), query.output, place, input.clone());
                state.links.entry(link).or_default().insert(key.clone());
            }
        }
        if let Some(result) = result {
            let results = state.results.entry(key.clone()).or_default();
            results.retain(|old| old != result);
            results.insert(0, result.clone());
        }
        Ok(key)
    }

    async fn origins(&self, key: &CacheKeyId) -> Result<Vec<KeyQuery>, Failure> {
        let state = self.0.lock();
        let mut made: BTreeMap<(Digest, u32), Vec<Vec<InputKey>>> = BTreeMap::new();
        for ((op, output, place, input), keys) in &state.links {
            if keys.contains(key) {
                let inputs = made.entry((op.clone(), *output)).or_default();
                inputs.resize(inputs.len().max(place + 1), Vec::new());
                inputs[*place].push(input.clone());
            }
        }
        for ((op, output), root) in &state.roots {
            if root == key {
                made.insert((op.clone(), *output), Vec::new());
            }
        }
        let made = made.into_iter();
        Ok(made
            .map(|((op, output), inputs)| KeyQuery { op, output, inputs })
            .collect())
    }

    async fn forget(&self, result: &ResultId) -> Result<(), Failure> {
        for results in self.0.lock().results.values_mut() {
            results.retain(|old| old != result);
        }
        Ok(())
    }
}
