use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use cooper_proto::Digest;

use crate::model::{CacheKeyId, Failure, ResultId};
use crate::ports::{CacheStore, CachedResult, InputKey, KeyQuery, LookupAnswer};

/// A [`CacheStore`] that forgets all when it is dropped.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Records>);

/// (op, output, position, key of the input) to the keys that it leads to.
type Links = BTreeMap<(Digest, u32, usize, InputKey), BTreeSet<CacheKeyId>>;

#[derive(Debug, Default)]
struct Records {
    ops: BTreeSet<Digest>,
    /// Keys of ops with no inputs.
    roots: BTreeMap<(Digest, u32), CacheKeyId>,
    links: Links,
    results: BTreeMap<CacheKeyId, Vec<CachedResult>>,
    /// Stands for time.
    saves: u64,
}

impl MemoryStore {
    fn records(&self) -> MutexGuard<'_, Records> {
        // Records are whole between calls whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// [`CacheStore::lookup`] without waiting.
    pub fn lookup_now(&self, query: &KeyQuery) -> LookupAnswer {
        self.records().lookup(query)
    }

    /// [`CacheStore::results`] without waiting.
    pub fn results_now(&self, key: &CacheKeyId) -> Vec<CachedResult> {
        self.records().results.get(key).cloned().unwrap_or_default()
    }

    /// [`CacheStore::save`] without waiting.
    pub fn save_now(&self, query: &KeyQuery, result: Option<&ResultId>) -> CacheKeyId {
        self.records().save(query, result)
    }

    /// [`CacheStore::origins`] without waiting.
    pub fn origins_now(&self, key: &CacheKeyId) -> Vec<KeyQuery> {
        self.records().origins(key)
    }

    /// [`CacheStore::forget`] without waiting.
    pub fn forget_now(&self, result: &ResultId) {
        for results in self.records().results.values_mut() {
            results.retain(|cached| cached.result != *result);
        }
    }
}

impl Records {
    fn lookup(&self, query: &KeyQuery) -> LookupAnswer {
        LookupAnswer {
            keys: self.matching(query).into_iter().collect(),
            op_known: self.ops.contains(&query.op),
            inputs_known: (0..query.inputs.len())
                .map(|position| !self.reached(query, position).is_empty())
                .collect(),
            imported: Vec::new(),
        }
    }

    fn matching(&self, query: &KeyQuery) -> BTreeSet<CacheKeyId> {
        if query.inputs.is_empty() {
            let root = self.roots.get(&(query.op.clone(), query.output));
            return root.cloned().into_iter().collect();
        }
        let mut reached = (0..query.inputs.len()).map(|position| self.reached(query, position));
        let first = reached.next().unwrap_or_default();
        reached.fold(first, |common, keys| &common & &keys)
    }

    fn reached(&self, query: &KeyQuery, position: usize) -> BTreeSet<CacheKeyId> {
        let alternatives = query.inputs[position].iter();
        let links = alternatives.filter_map(|key| {
            let link = (query.op.clone(), query.output, position, key.clone());
            self.links.get(&link)
        });
        links.flatten().cloned().collect()
    }

    fn origins(&self, key: &CacheKeyId) -> Vec<KeyQuery> {
        let roots = self.roots.iter().filter(|(_, root)| *root == key);
        let mut made: BTreeMap<(Digest, u32), Vec<Vec<InputKey>>> = roots
            .map(|(op_and_output, _)| (op_and_output.clone(), Vec::new()))
            .collect();
        for ((op, output, position, input), keys) in &self.links {
            if keys.contains(key) {
                let inputs = made.entry((op.clone(), *output)).or_default();
                inputs.resize(inputs.len().max(position + 1), Vec::new());
                inputs[*position].push(input.clone());
            }
        }
        let made = made.into_iter();
        made.map(|((op, output), inputs)| KeyQuery { op, output, inputs })
            .collect()
    }

    fn save(&mut self, query: &KeyQuery, result: Option<&ResultId>) -> CacheKeyId {
        let known = self.matching(query).into_iter().next();
        let key = known.unwrap_or_else(|| CacheKeyId(Digest::sha256_of(format!("{query:?}"))));
        self.ops.insert(query.op.clone());
        if query.inputs.is_empty() {
            let root = (query.op.clone(), query.output);
            self.roots.insert(root, key.clone());
        }
        for (position, alternatives) in query.inputs.iter().enumerate() {
            for input in alternatives {
                let link = (query.op.clone(), query.output, position, input.clone());
                self.links.entry(link).or_default().insert(key.clone());
            }
        }
        if let Some(result) = result {
            self.saves += 1;
            let results = self.results.entry(key.clone()).or_default();
            results.retain(|cached| cached.result != *result);
            let cached = CachedResult {
                result: result.clone(),
                created_ns: self.saves,
                imported: false,
            };
            results.insert(0, cached);
        }
        key
    }
}

#[async_trait]
impl CacheStore for MemoryStore {
    async fn lookup(&self, query: &KeyQuery) -> Result<LookupAnswer, Failure> {
        Ok(self.lookup_now(query))
    }

    async fn results(&self, key: &CacheKeyId) -> Result<Vec<CachedResult>, Failure> {
        Ok(self.results_now(key))
    }

    async fn save(
        &self,
        query: &KeyQuery,
        result: Option<&ResultId>,
    ) -> Result<CacheKeyId, Failure> {
        Ok(self.save_now(query, result))
    }

    async fn origins(&self, key: &CacheKeyId) -> Result<Vec<KeyQuery>, Failure> {
        Ok(self.origins_now(key))
    }

    async fn forget(&self, result: &ResultId) -> Result<(), Failure> {
        self.forget_now(result);
        Ok(())
    }
}
