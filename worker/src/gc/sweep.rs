//! What no record needs any more. Who calls this has closed the gate.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use cooper_proto::Digest;
use cooper_proto::oci::Descriptor;

use super::GcError;
use crate::clock::now_ns;
use crate::images::ImageStore;
use crate::layer::Layers;
use crate::meta::{LayerId, LayerInfo, Meta};

/// Collection of blobs that somebody beside images and layers needs: `holder|digest`.
pub(crate) const HELD: &str = "blob-held-1";

/// Removes cache links that lead nowhere, layers that no result has, and blobs that nothing refers to.
///
/// Blobs younger than `grace` stay: documents of images that were only looked at are looked at again soon.
pub(super) fn sweep(layers: &Layers, images: &ImageStore, grace: Duration) -> Result<(), GcError> {
    let meta = layers.snapshots().meta();
    let links = crate::cachestore::sweep(meta)?;
    let gone = layers.snapshots().remove_unreferenced()?;
    let blobs = sweep_blobs(layers, images, grace)?;
    if links + gone.len() + blobs > 0 {
        tracing::debug!(links, layers = gone.len(), blobs, "swept");
    }
    Ok(())
}

fn sweep_blobs(layers: &Layers, images: &ImageStore, grace: Duration) -> Result<usize, GcError> {
    let meta = layers.snapshots().meta();
    let known = meta.layers()?;
    let mut needed: HashSet<Digest> = archives(meta, known.iter())?
        .into_values()
        .flatten()
        .collect();
    for entry in meta.images()? {
        let target = Descriptor::new(entry.media_type, entry.digest, entry.size);
        match images.reachable(&target) {
            Ok(blobs) => needed.extend(blobs.into_iter().map(|it| it.digest)),
            Err(failure) => {
                // One damaged image must not cost others their blobs.
                tracing::warn!(name = entry.name, %failure, "an image cannot be read; all blobs stay");
                return Ok(0);
            }
        }
    }
    for (key, _) in meta.documents(HELD)? {
        let digest = key
            .rsplit_once('|')
            .and_then(|(_, digest)| digest.parse().ok());
        needed.extend::<Option<Digest>>(digest);
    }
    let content = layers.content();
    let oldest_young = now_ns().saturating_sub(u64::try_from(grace.as_nanos()).unwrap_or(u64::MAX));
    let mut removed = 0;
    for (digest, _) in content.list()? {
        let is_young = || !grace.is_zero() && content.stored_ns(&digest) > Some(oldest_young);
        if !needed.contains(&digest) && !is_young() {
            content.remove(&digest)?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// The archives that each layer has or can be had from.
pub(super) fn archives<'a>(
    meta: &Meta,
    layers: impl Iterator<Item = &'a LayerInfo>,
) -> Result<HashMap<LayerId, Vec<Digest>>, GcError> {
    let forms = meta.layer_blobs()?;
    let mut archives = HashMap::new();
    for layer in layers {
        let origin = layer.origin.iter().map(|it| it.blob.digest.clone());
        let mut blobs: Vec<_> = origin.collect();
        let forms = layer
            .diff_id
            .as_ref()
            .and_then(|diff_id| forms.get(diff_id));
        blobs.extend(forms.into_iter().flatten().cloned());
        archives.insert(layer.id.clone(), blobs);
    }
    Ok(archives)
}
