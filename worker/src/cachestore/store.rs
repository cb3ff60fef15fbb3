use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use cooper_core::{
    model::{CacheKeyId, Failure, FailureKind, ResultId},
    ports::{CacheStore, CachedResult, InputKey, KeyQuery, LookupAnswer},
};
use cooper_proto::Digest;
use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};

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

/// (next key, the link without it): links the other way round.
const BACKLINKS: TableDefinition<'static, (&'static str, &'static str), ()> =
    TableDefinition::new("cache_backlinks");

pub(crate) fn make_tables(transaction: &WriteTransaction) -> Result<(), MetaError> {
    let links = transaction.open_table(LINKS)?;
    transaction.open_table(RESULTS)?;
    transaction.open_table(BY_RESULT)?;
    let mut backlinks = transaction.open_table(BACKLINKS)?;
    if backlinks.is_empty()? {
        // A folder of an engine that did not have them.
        for link in links.iter()? {
            if let Some((before, next)) = link?.0.value().rsplit_once('|') {
                backlinks.insert((next, before), ())?;
            }
        }
    }
    Ok(())
}

/// A link and the same the other way round.
fn link(
    transaction: &WriteTransaction,
    before: &str,
    next: &CacheKeyId,
    now: u64,
) -> Result<(), MetaError> {
    let next = next.0.as_str();
    let link = format!("{before}|{next}");
    transaction.open_table(LINKS)?.insert(link.as_str(), now)?;
    let mut backlinks = transaction.open_table(BACKLINKS)?;
    backlinks.insert((next, before), ())?;
    Ok(())
}

/// Removes a link both ways; says whether it was there.
pub(super) fn unlink(transaction: &WriteTransaction, link: &str) -> Result<bool, MetaError> {
    if let Some((before, next)) = link.rsplit_once('|') {
        transaction.open_table(BACKLINKS)?.remove((next, before))?;
    }
    let removed = transaction.open_table(LINKS)?.remove(link)?.is_some();
    Ok(removed)
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
        self.meta.look(|view| {
            let links = view.open_table(LINKS)?;
            Ok(LookupAnswer {
                keys: matching(&links, query)?.into_iter().collect(),
                op_known: next_keys(&links, &format!("{}|", query.op))?
                    .next()
                    .is_some(),
                inputs_known: inputs_known(&links, query)?,
                imported: Vec::new(),
            })
        })
    }

    fn made_by(&self, key: &CacheKeyId) -> Result<Vec<KeyQuery>, MetaError> {
        self.meta.look(|view| {
            let table = view.open_table(BACKLINKS)?;
            let key = key.0.as_str();
            let mut made: BTreeMap<(Digest, u32), Vec<Vec<InputKey>>> = BTreeMap::new();
            for entry in table.range((key, "")..)? {
                let (at, ()) = entry.map(|(at, _)| (at, ()))?;
                let (its_key, link) = at.value();
                if its_key != key {
                    break;
                }
                let (op, output, input) = parse_link(link)?;
                let inputs = made.entry((op, output)).or_default();
                if let Some((position, input)) = input {
                    inputs.resize(inputs.len().max(position + 1), Vec::new());
                    inputs[position].push(input);
                }
            }
            let made = made.into_iter();
            Ok(made
                .map(|((op, output), inputs)| KeyQuery { op, output, inputs })
                .collect())
        })
    }

    fn kept(&self, key: &CacheKeyId) -> Result<Vec<CachedResult>, MetaError> {
        self.meta.look(|view| {
            let table = view.open_table(RESULTS)?;
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
        })
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

    async fn origins(&self, key: &CacheKeyId) -> Result<Vec<KeyQuery>, Failure> {
        self.made_by(key).map_err(|error| failed(&error))
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
    let key = matching(&transaction.open_table(LINKS)?, query)?
        .into_iter()
        .next()
        .unwrap_or_else(|| CacheKeyId(fresh_key(query)));
    if query.inputs.is_empty() {
        link(transaction, &format!("{}|||", op_prefix(query)), &key, now)?;
    }
    for (position, alternatives) in query.inputs.iter().enumerate() {
        for input in alternatives {
            let before = link_start(query, position, input);
            link(transaction, &before, &key, now)?;
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
    format!("{}|", link_start(query, position, input))
}

/// A link without the key that it leads to.
fn link_start(query: &KeyQuery, position: usize, input: &InputKey) -> String {
    let selector = input.selector.as_ref().map_or("", Digest::as_str);
    let input = &input.key.0;
    format!("{}|{position}|{selector}|{input}", op_prefix(query))
}

/// Op, output and, where there is one, the input by position.
type LinkStart = (Digest, u32, Option<(usize, InputKey)>);

/// What a link without its end says.
fn parse_link(link: &str) -> Result<LinkStart, MetaError> {
    let broken = |reason: String| MetaError::Record {
        kind: "cache link",
        reason,
    };
    let digest = |text: &str| text.parse().map_err(|error| broken(format!("{error}")));
    let parts: Vec<&str> = link.split('|').collect();
    let [op, output, position, selector, key] = parts.as_slice() else {
        return Err(broken(format!("{} parts", parts.len())));
    };
    let output = output.parse().map_err(|error| broken(format!("{error}")))?;
    if key.is_empty() {
        return Ok((digest(op)?, output, None));
    }
    let position: u16 = position
        .parse()
        .map_err(|error| broken(format!("{error}")))?;
    let input = InputKey {
        key: CacheKeyId(digest(key)?),
        selector: match *selector {
            "" => None,
            text => Some(digest(text)?),
        },
    };
    Ok((digest(op)?, output, Some((usize::from(position), input))))
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
