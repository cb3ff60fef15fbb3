use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use cooper_core::{
    model::{Failure, FailureKind, ResultId},
    ports::ImportedLayers,
};
use cooper_proto::{Digest, oci::Descriptor};

use super::{CacheStores, places::LayerSource};
use crate::{
    layer::Compression,
    meta::{LayerBlob, LayerOrigin},
    source::layer_failure,
};

/// Annotation with a layer's digest before compression.
pub(super) const UNCOMPRESSED: &str = "containerd.io/uncompressed";
/// Annotation with the time when a layer was made.
pub(super) const CREATED: &str = "buildkit/createdat";
/// Annotation with what made a layer.
pub(super) const DESCRIPTION: &str = "buildkit/description";

/// The layers of one cache.
pub(super) struct CacheLayers {
    pub(super) stores: CacheStores,
    pub(super) layers: BTreeMap<Digest, Descriptor>,
    /// From where a layer's record says that it can be fetched.
    pub(super) source: String,
    /// Set where layers must come at once, because the place goes away with the build.
    pub(super) eager: Option<Arc<dyn LayerSource>>,
    /// What the cache is called.
    pub(super) name: String,
}

#[async_trait]
impl ImportedLayers for CacheLayers {
    async fn compose(&self, blobs: &[Digest]) -> Result<Option<ResultId>, Failure> {
        let _hold = self.stores.images.gate().hold().await;
        let mut described = Vec::with_capacity(blobs.len());
        for blob in blobs {
            let Some((descriptor, diff_id)) = self.layers.get(blob).and_then(with_diff_id) else {
                return Ok(None);
            };
            described.push((descriptor, diff_id));
        }
        if let Some(place) = &self.eager {
            for (descriptor, _) in &described {
                match place.fetch(self.stores.layers.content(), descriptor).await {
                    Ok(()) => {}
                    Err(failure) if failure.kind == FailureKind::Cancelled => return Err(failure),
                    // A cache that lost a layer has less to give, and the build goes on.
                    Err(failure) => {
                        tracing::warn!(%failure, cache = self.name, "a cached layer is gone");
                        return Ok(None);
                    }
                }
            }
        }
        let mut layers = Vec::with_capacity(described.len());
        for (descriptor, diff_id) in described {
            let origin = LayerOrigin {
                blob: LayerBlob {
                    media_type: descriptor.media_type.clone(),
                    digest: descriptor.digest.clone(),
                    size: descriptor.size,
                },
                source: self.source.clone(),
                annotations: own_annotations(descriptor),
                urls: descriptor.urls.clone(),
            };
            let annotation = |key| descriptor.annotations.get(key);
            let created = annotation(CREATED).and_then(|time| nanoseconds(time));
            let made_by = annotation(DESCRIPTION).cloned().unwrap_or_default();
            let layer = self
                .stores
                .layers
                .declare_made(origin, &diff_id, &made_by, created);
            layers.push(layer.map_err(layer_failure)?);
        }
        let description = format!("imported from {}", self.name);
        let snapshots = self.stores.layers.snapshots();
        let result = snapshots.compose(layers, &description);
        let failed = |error: crate::snapshot::SnapshotError| {
            Failure::new(FailureKind::Infrastructure, error.to_string())
        };
        result.map(Some).map_err(failed)
    }
}

/// The annotations that are the layer's own and not the cache's: images that are made of it have those alone.
fn own_annotations(descriptor: &Descriptor) -> BTreeMap<String, String> {
    let mut annotations = descriptor.annotations.clone();
    annotations.retain(|key, _| ![UNCOMPRESSED, CREATED, DESCRIPTION].contains(&key.as_str()));
    annotations
}

/// A layer that says enough to be unpacked.
fn with_diff_id(descriptor: &Descriptor) -> Option<(&Descriptor, Digest)> {
    if let Some(said) = descriptor.annotations.get(UNCOMPRESSED) {
        return Some((descriptor, said.parse().ok()?));
    }
    let plain = Compression::of_media_type(&descriptor.media_type)? == Compression::Uncompressed;
    plain.then(|| (descriptor, descriptor.digest.clone()))
}

fn nanoseconds(text: &str) -> Option<u64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cache_says_of_a_layer_stays_out_of_images() {
        let mut descriptor = Descriptor::new("", Digest::sha256_of("layer"), 1);
        for key in [UNCOMPRESSED, CREATED, DESCRIPTION, "org.example.own"] {
            let annotations = &mut descriptor.annotations;
            annotations.insert(key.to_owned(), "said".to_owned());
        }
        let kept = own_annotations(&descriptor);
        assert_eq!(kept.into_keys().collect::<Vec<_>>(), ["org.example.own"]);
    }
}
