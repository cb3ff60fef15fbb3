use std::collections::BTreeMap;

use cooper_core::{
    model::Failure,
    remotecache::{Chains, DocumentResult, document},
};
use cooper_proto::{
    Digest,
    cache_config::{CacheRecord, ChainedResult},
    oci,
};

use crate::{
    exporter::{WrittenLayer, time_text, unwritten},
    images::meta_failure,
    layer::Layers,
    meta::LayerId,
};

/// The records of an image's own cache, as its configuration has them: those whose results are made of the image's
/// layers, which they name by position. `None` when there are none.
///
/// # Errors
/// When the metadata store fails.
pub(crate) fn inline_records(
    chains: &Chains,
    image: &[WrittenLayer],
    layers: &Layers,
) -> Result<Option<Vec<u8>>, Failure> {
    let meta = layers.snapshots().meta();
    let places: BTreeMap<&LayerId, usize> = image
        .iter()
        .enumerate()
        .rev()
        .map(|(place, layer)| (&layer.layer, place))
        .collect();
    let mut results = Vec::with_capacity(chains.records.len());
    for record in &chains.records {
        let Some((result, created_ns)) = &record.result else {
            results.push(None);
            continue;
        };
        let chain = meta.result(result).map_err(|error| meta_failure(&error))?;
        let found: Option<Vec<usize>> = chain
            .layers
            .iter()
            .map(|layer| places.get(layer).copied())
            .collect();
        let found = found.filter(|found| !found.is_empty());
        results.push(found.map(|found| DocumentResult {
            // A digest a position: what the document needs is that equal layers are equal.
            blobs: found.iter().map(|place| digest_of(*place)).collect(),
            created_at: time_text(*created_ns),
        }));
    }
    let config = document(chains, &results);
    if config.layers.is_empty() {
        return Ok(None);
    }
    let by_digest: BTreeMap<String, i64> = (0..image.len())
        .zip(0..)
        .map(|(place, number)| (digest_of(place).to_string(), number))
        .collect();
    let mut records = config.records;
    for record in &mut records {
        place_results(record, &config.layers, &by_digest);
    }
    oci::to_json(&records).map(Some).map_err(unwritten)
}

fn digest_of(place: usize) -> Digest {
    Digest::sha256_of(place.to_string())
}

/// Names results by the image's layers: by the topmost where they lie as in the image, else one by one.
fn place_results(
    record: &mut CacheRecord,
    layers: &[cooper_proto::cache_config::CacheLayer],
    by_digest: &BTreeMap<String, i64>,
) {
    let mut kept = Vec::new();
    for mut result in std::mem::take(&mut record.results) {
        let mut chain = Vec::new();
        let mut at = result.layer;
        while let Some(layer) = usize::try_from(at).ok().and_then(|at| layers.get(at)) {
            chain.extend(by_digest.get(&layer.blob).copied());
            at = layer.parent;
        }
        chain.reverse();
        if chain.iter().copied().eq((0..).take(chain.len())) {
            result.layer = chain.last().copied().unwrap_or_default();
            kept.push(result);
        } else {
            record.chained_results.push(ChainedResult {
                layers: chain,
                created_at: result.created_at,
            });
        }
    }
    record.results = kept;
}
