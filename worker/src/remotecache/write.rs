use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use cooper_core::{
    model::{Failure, ResultId},
    ports::{CacheExportRequest, CacheMode, Events, ExportResponse},
    remotecache::{DocumentResult, document},
};
use cooper_proto::{Digest, cache_config::CacheConfig, oci::Descriptor};

use super::{
    CacheStores,
    layers::{CREATED, UNCOMPRESSED},
};
use crate::{
    content::ContentStore,
    exporter::{Absent, ImageAttributes, ImageWriter, WrittenLayer, tell, time_text, unwritten},
    images::{blame, meta_failure},
    meta::LayerId,
    source::layer_failure,
};

/// Where a cache goes.
#[async_trait]
pub(super) trait Target: Send + Sync {
    /// How many layers are sent at a time.
    fn at_once(&self) -> usize;

    /// Whether it has a layer, or can have it without its bytes coming from here.
    async fn has(&self, blob: &Descriptor) -> Result<bool, Failure>;

    /// Puts a layer of the content store there.
    async fn put(&self, content: &ContentStore, blob: &Descriptor) -> Result<(), Failure>;

    /// Puts the document there, whose layers are described in its order, and what the cache is found by.
    async fn finish(
        &self,
        config: CacheConfig,
        layers: Vec<Descriptor>,
    ) -> Result<ExportResponse, Failure>;
}

/// Writes a cache to a place.
pub(super) struct Writing<'a> {
    pub(super) stores: &'a CacheStores,
    pub(super) request: &'a CacheExportRequest,
    /// How layers are stored.
    pub(super) layers: &'a ImageAttributes,
    pub(super) target: &'a dyn Target,
    pub(super) events: &'a Events,
}

/// The layers of a cache, by their blobs' digests.
type CacheBlobs = BTreeMap<Digest, (Descriptor, WrittenLayer)>;

impl Writing<'_> {
    /// Makes what layers lack, sends what the place lacks, and then the documents.
    ///
    /// # Errors
    /// When a layer cannot be made or the place does not take it. The cache that was there is still there then.
    pub(super) async fn run(&self) -> Result<ExportResponse, Failure> {
        let _hold = self.stores.images.gate().hold().await;
        let preparing = "preparing build cache for export";
        tell(self.events, preparing, false);
        let prepared = self.prepare().await;
        tell(self.events, preparing, true);
        let (config, blobs) = prepared?;
        if config.layers.is_empty() {
            tell(self.events, "skipping cache export for empty result", true);
            return Ok(ExportResponse::new());
        }
        let sending = "sending cache export";
        tell(self.events, sending, false);
        let sent = self.send(config, &blobs).await;
        tell(self.events, sending, true);
        sent
    }

    async fn prepare(&self) -> Result<(CacheConfig, CacheBlobs), Failure> {
        let wanted = self.wanted()?;
        let sessions = &self.request.sessions;
        let writer = ImageWriter {
            images: &self.stores.images,
            layers: &self.stores.layers,
            fetcher: Arc::new(self.stores.source.fetcher(sessions, self.events.clone())),
            attributes: self.layers,
            absent: Absent::Leave,
            events: self.events,
        };
        let mut blobs = CacheBlobs::new();
        let mut results = Vec::with_capacity(wanted.len());
        for result in wanted {
            let Some((result, created_ns)) = result else {
                results.push(None);
                continue;
            };
            let layers = writer.layers_of(&result).await?;
            let described: Vec<Descriptor> = layers.iter().map(described).collect();
            results.push((!layers.is_empty()).then(|| DocumentResult {
                blobs: described.iter().map(|it| it.digest.clone()).collect(),
                created_at: time_text(created_ns),
            }));
            for (descriptor, layer) in described.into_iter().zip(layers) {
                blobs.insert(descriptor.digest.clone(), (descriptor, layer));
            }
        }
        Ok((document(&self.request.chains, &results), blobs))
    }

    /// Each record's result, where the mode has it written.
    fn wanted(&self) -> Result<Vec<Option<(ResultId, u64)>>, Failure> {
        let meta = self.stores.layers.snapshots().meta();
        let chain = |result: &ResultId| -> Result<Vec<LayerId>, Failure> {
            let info = meta.result(result).map_err(|error| meta_failure(&error))?;
            Ok(info.layers)
        };
        let mut finals = Vec::new();
        for result in &self.request.finals {
            finals.extend(chain(result)?);
        }
        let mut wanted = Vec::with_capacity(self.request.chains.records.len());
        for record in &self.request.chains.records {
            wanted.push(match &record.result {
                Some((result, created)) if !result.is_scratch() => {
                    let is_wanted = self.request.mode == CacheMode::Max
                        || chain(result)?.iter().all(|layer| finals.contains(layer));
                    is_wanted.then(|| (result.clone(), *created))
                }
                _ => None,
            });
        }
        Ok(wanted)
    }

    async fn send(
        &self,
        config: CacheConfig,
        blobs: &CacheBlobs,
    ) -> Result<ExportResponse, Failure> {
        let mut listed: Vec<Descriptor> = Vec::with_capacity(config.layers.len());
        for layer in &config.layers {
            let found = blobs
                .values()
                .find(|(it, _)| it.digest.as_str() == layer.blob);
            let (descriptor, _) = found.ok_or_else(|| unwritten("a layer is missing"))?;
            listed.push(descriptor.clone());
        }
        let all: Vec<_> = blobs.values().collect();
        for some in all.chunks(self.target.at_once().max(1)) {
            let each = some
                .iter()
                .map(|(blob, layer)| self.send_layer(blob, layer));
            futures::future::try_join_all(each).await?;
        }
        self.target.finish(config, listed).await
    }

    async fn send_layer(&self, blob: &Descriptor, layer: &WrittenLayer) -> Result<(), Failure> {
        let status = format!("writing layer {}", blob.digest);
        tell(self.events, &status, false);
        let content = self.stores.images.content();
        if !self.target.has(blob).await? {
            if !content.contains(&blob.digest) {
                let sessions = &self.request.sessions;
                let fetcher = self.stores.source.fetcher(sessions, self.events.clone());
                let fetched = self.stores.layers.ensure_blob(&layer.layer, &fetcher);
                fetched.await.map_err(layer_failure)?;
            }
            if let Err(refused) = self.target.put(content, blob).await {
                let mut failure = blame(content, &blob.digest, refused).await;
                failure.message = format!("error writing layer blob: {}", failure.message);
                return Err(failure);
            }
        }
        tell(self.events, &status, true);
        Ok(())
    }
}

/// A layer's descriptor with what an importer needs to know.
fn described(layer: &WrittenLayer) -> Descriptor {
    let mut descriptor = layer.descriptor.clone();
    let annotations = &mut descriptor.annotations;
    annotations.insert(UNCOMPRESSED.to_owned(), layer.facts.diff_id.to_string());
    annotations.insert(CREATED.to_owned(), time_text(layer.facts.created_ns));
    descriptor
}
