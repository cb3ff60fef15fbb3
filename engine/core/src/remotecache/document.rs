use std::collections::BTreeMap;

use cooper_proto::Digest;
use cooper_proto::cache_config::{CacheConfig, CacheInput, CacheLayer, CacheRecord, CacheResult};

use super::chains::Chains;

/// The layers of a record's result, as they are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentResult {
    /// Digests of the blobs, the bottom one first; never empty.
    pub blobs: Vec<Digest>,
    /// When the result was made, as RFC 3339 has it.
    pub created_at: String,
}

/// Writes chains as a document. `results` has what each record leads to. Records that nothing with a result stands on
/// are left out.
///
/// # Shape
/// Layers sorted by digest, records by digest and inputs, so that equal caches give equal documents.
#[must_use]
pub fn document(chains: &Chains, results: &[Option<DocumentResult>]) -> CacheConfig {
    let useful = useful(chains, results);
    let (layers, tops) = layers(results);
    let mut order: Vec<usize> = (0..chains.records.len()).filter(|at| useful[*at]).collect();
    order.sort_by_cached_key(|at| {
        let record = &chains.records[*at];
        let inputs: Vec<Vec<(String, String)>> = record
            .inputs
            .iter()
            .map(|links| {
                let described = links.iter().map(|link| {
                    let digest = chains.records[link.record].digest.to_string();
                    (selector_text(link.selector.as_ref()), digest)
                });
                described.collect()
            })
            .collect();
        (record.digest.to_string(), inputs)
    });
    let mut places = BTreeMap::new();
    for (place, at) in order.iter().enumerate() {
        places.insert(*at, i64::try_from(place).unwrap_or(i64::MAX));
    }
    let records = order.iter().map(|at| {
        let record = &chains.records[*at];
        let inputs = record.inputs.iter().map(|links| {
            let inputs = links.iter().filter_map(|link| {
                Some(CacheInput {
                    selector: selector_text(link.selector.as_ref()),
                    link: *places.get(&link.record)?,
                })
            });
            let mut inputs: Vec<CacheInput> = inputs.collect();
            inputs.sort_by(|a, b| (a.link, &a.selector).cmp(&(b.link, &b.selector)));
            inputs
        });
        CacheRecord {
            results: tops[*at]
                .iter()
                .map(|(layer, created_at)| CacheResult {
                    layer: *layer,
                    created_at: created_at.clone(),
                })
                .collect(),
            chained_results: Vec::new(),
            digest: record.digest.to_string(),
            inputs: inputs.collect(),
        }
    });
    CacheConfig {
        records: records.collect(),
        layers,
    }
}

fn selector_text(selector: Option<&Digest>) -> String {
    selector.map(ToString::to_string).unwrap_or_default()
}

/// Records with a result and all that they stand on.
fn useful(chains: &Chains, results: &[Option<DocumentResult>]) -> Vec<bool> {
    let mut useful: Vec<bool> = (0..chains.records.len())
        .map(|at| results.get(at).is_some_and(Option::is_some))
        .collect();
    for at in (0..chains.records.len()).rev() {
        if useful[at] {
            for link in chains.records[at].inputs.iter().flatten() {
                useful[link.record] = true;
            }
        }
    }
    useful
}

/// A record's results by their topmost layers.
type Tops = Vec<Option<(i64, String)>>;

/// All layers, each on each other one once, and which of them each record's result ends with.
fn layers(results: &[Option<DocumentResult>]) -> (Vec<CacheLayer>, Tops) {
    // A layer on what is below it, by position; then the same, sorted.
    let mut known: BTreeMap<(Option<usize>, Digest), usize> = BTreeMap::new();
    let mut made: Vec<(Option<usize>, Digest)> = Vec::new();
    let mut tops = Vec::with_capacity(results.len());
    for result in results {
        let mut below = None;
        for blob in result.iter().flat_map(|result| &result.blobs) {
            let layer = (below, blob.clone());
            below = Some(*known.entry(layer.clone()).or_insert_with(|| {
                made.push(layer);
                made.len() - 1
            }));
        }
        let created = result.as_ref().map(|result| result.created_at.clone());
        tops.push(below.zip(created));
    }
    let mut order: Vec<usize> = (0..made.len()).collect();
    order.sort_by_key(|at| (made[*at].1.to_string(), made[*at].0));
    let mut places = vec![0; made.len()];
    for (place, at) in order.iter().enumerate() {
        places[*at] = i64::try_from(place).unwrap_or(i64::MAX);
    }
    let layers = order.iter().map(|at| {
        let (below, blob) = &made[*at];
        CacheLayer {
            blob: blob.to_string(),
            parent: below.map_or(-1, |below| places[below]),
            annotations: None,
        }
    });
    let placed = |top: Option<(usize, String)>| top.map(|(at, created)| (places[at], created));
    (layers.collect(), tops.into_iter().map(placed).collect())
}
