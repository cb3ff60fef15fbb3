//! Forgetting what leads nowhere.

use std::collections::{BTreeSet, HashMap, HashSet};

use cooper_core::model::ResultId;
use redb::{ReadableTable, WriteTransaction};

use super::store::{LINKS, RESULTS, forget, unlink};
use crate::meta::{Meta, MetaError};

/// Forgets results that were removed.
///
/// # Errors
/// When the metadata store fails.
pub(crate) fn forget_results(meta: &Meta, results: Vec<ResultId>) -> Result<(), MetaError> {
    if results.is_empty() {
        return Ok(());
    }
    meta.write(move |tables| {
        results
            .iter()
            .try_for_each(|result| forget(tables.transaction(), result))
    })
}

/// Removes the links from which no key with a result can be reached, and tells how many.
///
/// # Errors
/// When the metadata store fails.
pub(crate) fn sweep(meta: &Meta) -> Result<usize, MetaError> {
    meta.write(|tables| remove_dead_links(tables.transaction()))
}

fn remove_dead_links(transaction: &WriteTransaction) -> Result<usize, MetaError> {
    let mut useful: HashSet<String> = HashSet::new();
    for entry in transaction.open_table(RESULTS)?.iter()? {
        useful.insert(entry?.0.value().0.to_owned());
    }
    let mut inputs: HashMap<String, BTreeSet<String>> = HashMap::new();
    let mut all = Vec::new();
    for entry in transaction.open_table(LINKS)?.iter()? {
        let link = entry?.0.value().to_owned();
        if let Some((input, next)) = ends(&link) {
            inputs
                .entry(next.to_owned())
                .or_default()
                .insert(input.to_owned());
        }
        all.push(link);
    }
    // A key that leads to a useful one is useful.
    let mut open: Vec<String> = useful.iter().cloned().collect();
    while let Some(key) = open.pop() {
        for input in inputs.remove(&key).unwrap_or_default() {
            if useful.insert(input.clone()) {
                open.push(input);
            }
        }
    }
    let mut removed = 0;
    for link in all {
        let is_dead = ends(&link).is_none_or(|(_, next)| !useful.contains(next));
        if is_dead && unlink(transaction, &link)? {
            removed += 1;
        }
    }
    Ok(removed)
}

/// The key that a link starts from, empty for an op without inputs, and the one that it leads to.
fn ends(link: &str) -> Option<(&str, &str)> {
    let (before, next) = link.rsplit_once('|')?;
    let (_, input) = before.rsplit_once('|')?;
    Some((input, next))
}

#[cfg(test)]
mod tests {
    use cooper_core::ports::{CacheStore, InputKey, KeyQuery};
    use cooper_proto::Digest;

    use super::super::PersistentCache;
    use super::*;

    fn query(op: &str, input: Option<&cooper_core::model::CacheKeyId>) -> KeyQuery {
        KeyQuery {
            op: Digest::sha256_of(op),
            output: 0,
            inputs: input
                .map(|key| {
                    vec![InputKey {
                        key: key.clone(),
                        selector: None,
                    }]
                })
                .into_iter()
                .collect(),
        }
    }

    #[tokio::test]
    async fn links_stay_as_long_as_they_lead_to_a_result() {
        let dir = tempfile::tempdir().unwrap();
        let meta = Meta::open(&dir.path().join("meta.redb")).unwrap();
        let cache = PersistentCache::new(meta.clone());
        let result = ResultId("r".to_owned());
        let base = cache.save(&query("base", None), None).await.unwrap();
        let step = query("step", Some(&base));
        cache.save(&step, Some(&result)).await.unwrap();
        cache
            .save(&query("other", Some(&base)), None)
            .await
            .unwrap();
        assert_eq!(sweep(&meta).unwrap(), 1, "only what leads nowhere goes");
        assert!(cache.lookup(&query("base", None)).await.unwrap().op_known);
        assert!(
            !cache
                .lookup(&query("other", Some(&base)))
                .await
                .unwrap()
                .op_known
        );

        forget_results(&meta, vec![result]).unwrap();
        let found = cache.lookup(&step).await.unwrap();
        assert!(cache.results(&found.keys[0]).await.unwrap().is_empty());
        assert_eq!(sweep(&meta).unwrap(), 2);
        assert!(!cache.lookup(&step).await.unwrap().op_known);
    }
}
