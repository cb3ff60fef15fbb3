use std::collections::BTreeSet;

use async_trait::async_trait;
use cooper_core::{
    model::{CacheKeyId, Failure, FailureKind, ResultId},
    ports::{CacheStore, CachedResult, InputKey, KeyQuery, LookupAnswer},
};
use cooper_proto::Digest;
use redb::{ReadableTable, TableDefinition, WriteTransaction};

use crate::{
    clock::now_ns,
    meta::{Meta, MetaError},
};

/// `op|output|position|selector|input key|next key` to the time in nanoseconds since 1970
/// when it was saved. For an op with no inputs, `op|output||||key`.
pub(super) const LINKS: TableDefinition<'static, &'static str, u64> =
    TableDefinition::new("cache_links");
/// (key, result) to the time in nanoseconds since 1970 when it was saved.
pub(super) const RESULTS: TableDefinition<'static, (&'static str, &'static str), u64> =
    TableDefinition::new("cache_results");
/// (result, key): the same the other way round.
const BY_RESULT: TableDefinition<'static, (&'static str, &'static str), ()> =
    TableDefinition::new("cache_keys_by_result");

pub(crate) fn make_tables(transaction: &WriteTransaction) -> Result<(), MetaError> {
    transaction.open_table(LINKS)?;
    transaction.open_table(RESULTS)?;
    transaction.open_table(BY_RESULT)?;
    Ok(())
}

/// The cache of one state folder, kept in its metadata store.
#[derive(Clone, Debug)]
pub struct PersistentCache {
    meta: Meta,
}

impl PersistentCache {
    /// The cache that `meta` holds.
    #[must_use]
    pub const fn new(meta: Meta) -> Self {
        Self { meta }
    }

    fn find(&self, query: &KeyQuery) -> Result<LookupAnswer, MetaError> {
        let links = self.meta.read()?.open_table(LINKS)?;
        Ok(LookupAnswer {
            keys: matching(&links, query)?.into_iter().collect(),
            op_known: next_keys(&links, &format!("{}|", query.op))?
                .next()
                .is_some(),
            inputs_known: inputs_known(&links, query)?,
            imported: Vec::new(),
        })
    }

    fn kept(&self, key: &CacheKeyId) -> Result<Vec<CachedResult>, MetaError> {
        let table = self.meta.read()?.open_table(RESULTS)?;
        let key = key.0.as_str();
        let mut kept = Vec::new();
        for entry in table.range((key, "")..)? {
            let (at, created_ns) = entry?;
            let (its_key, result) = at.value();
            if its_key != key {
                break;
            }
            kept.push(CachedResult {
                result: ResultId(result.to_owned()),
                created_ns: created_ns.value(),
                imported: false,
            });
        }
        kept.sort_by(|a, b| {
            let newest_first = b.created_ns.cmp(&a.created_ns);
            newest_first.then_with(|| a.result.cmp(&b.result))
        });
        Ok(kept)
    }
}

#[async_trait]
impl CacheStore for PersistentCache {
    async fn lookup(&self, query: &KeyQuery) -> Result<LookupAnswer, Failure> {
        self.find(query).map_err(|error| failed(&error))
    }

    async fn results(&self, key: &CacheKeyId) -> Result<Vec<CachedResult>, Failure> {
        self.kept(key).map_err(|error| failed(&error))
    }

    async fn save(
        &self,
        query: &KeyQuery,
        result: Option<&ResultId>,
    ) -> Result<CacheKeyId, Failure> {
        let (query, result) = (query.clone(), result.cloned());
        let now = now_ns();
        self.meta
            .write_async(move |tables| put(tables.transaction(), &query, result.as_ref(), now))
            .await
            .map_err(|error| failed(&error))
    }

    async fn forget(&self, result: &ResultId) -> Result<(), Failure> {
        let result = result.clone();
        self.meta
            .write_async(move |tables| forget(tables.transaction(), &result))
            .await
            .map_err(|error| failed(&error))
    }
}

fn failed(error: &MetaError) -> Failure {
    Failure::new(
        FailureKind::Infrastructure,
        format!("the cache store: {error}"),
    )
}

fn put(
    transaction: &WriteTransaction,
    query: &KeyQuery,
    result: Option<&ResultId>,
    now: u64,
) -> Result<CacheKeyId, MetaError> {
    let mut links = transaction.open_table(LINKS)?;
    let key = matching(&links, query)?
        .into_iter()
        .next()
        .unwrap_or_else(|| CacheKeyId(fresh_key(query)));
    if query.inputs.is_empty() {
        let link = format!("{}||||{}", op_prefix(query), key.0);
        links.insert(link.as_str(), now)?;
    }
    for (position, alternatives) in query.inputs.iter().enumerate() {
        for input in alternatives {
            let link = format!("{}{}", link_prefix(query, position, input), key.0);
            links.insert(link.as_str(), now)?;
        }
    }
    if let Some(result) = result {
        let mut results = transaction.open_table(RESULTS)?;
        results.insert((key.0.as_str(), result.0.as_str()), now)?;
        let mut by_result = transaction.open_table(BY_RESULT)?;
        by_result.insert((result.0.as_str(), key.0.as_str()), ())?;
    }
    Ok(key)
}

pub(super) fn forget(transaction: &WriteTransaction, result: &ResultId) -> Result<(), MetaError> {
    let mut by_result = transaction.open_table(BY_RESULT)?;
    let mut keys = Vec::new();
    for entry in by_result.range((result.0.as_str(), "")..)? {
        let (at, ()) = entry.map(|(at, _)| (at, ()))?;
        let (its_result, key) = at.value();
        if its_result != result.0 {
            break;
        }
        keys.push(key.to_owned());
    }
    let mut results = transaction.open_table(RESULTS)?;
    for key in keys {
        results.remove((key.as_str(), result.0.as_str()))?;
        by_result.remove((result.0.as_str(), key.as_str()))?;
    }
    Ok(())
}

fn op_prefix(query: &KeyQuery) -> String {
    format!("{}|{}", query.op, query.output)
}

fn link_prefix(query: &KeyQuery, position: usize, input: &InputKey) -> String {
    let selector = input.selector.as_ref().map_or("", Digest::as_str);
    format!(
        "{}|{position}|{selector}|{}|",
        op_prefix(query),
        input.key.0
    )
}

/// The keys at the ends of all links that start so.
fn next_keys<'a>(
    links: &'a impl ReadableTable<&'static str, u64>,
    prefix: &'a str,
) -> Result<impl Iterator<Item = Result<CacheKeyId, MetaError>> + 'a, MetaError> {
    let range = links.range(prefix..)?;
    let mut ended = false;
    Ok(range
        .map_while(move |entry| {
            let link = match entry {
                Ok((link, _)) => link.value().to_owned(),
                Err(error) => return Some(Err(MetaError::from(error))),
            };
            ended = ended || !link.starts_with(prefix);
            (!ended).then_some(Ok(link))
        })
        .map(|link| {
            let link = link?;
            let key = link.rsplit('|').next().unwrap_or_default();
            let digest = key.parse().map_err(|error| MetaError::Record {
                kind: "cache link",
                reason: format!("{error}"),
            })?;
            Ok(CacheKeyId(digest))
        }))
}

fn matching(
    links: &impl ReadableTable<&'static str, u64>,
    query: &KeyQuery,
) -> Result<BTreeSet<CacheKeyId>, MetaError> {
    if query.inputs.is_empty() {
        let prefix = format!("{}||||", op_prefix(query));
        return next_keys(links, &prefix)?.collect();
    }
    let mut common: Option<BTreeSet<CacheKeyId>> = None;
    for (position, alternatives) in query.inputs.iter().enumerate() {
        let mut reached = BTreeSet::new();
        for input in alternatives {
            let prefix = link_prefix(query, position, input);
            for key in next_keys(links, &prefix)? {
                reached.insert(key?);
            }
        }
        common = Some(match common {
            Some(before) => before.intersection(&reached).cloned().collect(),
            None => reached,
        });
    }
    Ok(common.unwrap_or_default())
}

fn inputs_known(
    links: &impl ReadableTable<&'static str, u64>,
    query: &KeyQuery,
) -> Result<Vec<bool>, MetaError> {
    let mut known = Vec::with_capacity(query.inputs.len());
    for (position, alternatives) in query.inputs.iter().enumerate() {
        let mut any = false;
        for input in alternatives {
            let prefix = link_prefix(query, position, input);
            any = any || next_keys(links, &prefix)?.next().is_some();
        }
        known.push(any);
    }
    Ok(known)
}

/// A key for a query that no key matches: it follows from the query alone, so that two
/// workers that never met choose the same.
fn fresh_key(query: &KeyQuery) -> Digest {
    let mut text = op_prefix(query);
    for (position, alternatives) in query.inputs.iter().enumerate() {
        let sorted: BTreeSet<_> = alternatives.iter().collect();
        for input in sorted {
            text.push('\n');
            text.push_str(&link_prefix(query, position, input));
        }
    }
    Digest::sha256_of(text)
}
