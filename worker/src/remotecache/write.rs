use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use cooper_core::{
    model::{Failure, ResultId},
    ports::{CacheExportRequest, CacheMode, Events, ExportResponse},
    remotecache::{DocumentResult, document},
};
use cooper_proto::{
    Digest,
    cache_config::{CACHE_CONFIG, CacheConfig},
    oci::{self, Descriptor, Index, Manifest, media_type},
};

use super::{
    CacheStores,
    attributes::CacheAttributes,
    layers::{CREATED, UNCOMPRESSED},
    places::Place,
};
use crate::{
    exporter::{Absent, ImageWriter, WrittenLayer, family, tell, time_text, unwritten},
    images::meta_failure,
    meta::LayerId,
    source::layer_failure,
};

/// How many layers are sent at a time.
const AT_ONCE: usize = 4;

/// Writes a cache to a place.
pub(super) struct Writing<'a> {
    pub(super) stores: &'a CacheStores,
    pub(super) request: &'a CacheExportRequest,
    pub(super) attributes: &'a CacheAttributes,
    pub(super) place: &'a dyn Place,
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
        let sent = self.send(&config, &blobs).await;
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
            attributes: &self.attributes.layers,
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
        config: &CacheConfig,
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
        for some in all.chunks(AT_ONCE) {
            let each = some
                .iter()
                .map(|(blob, layer)| self.send_layer(blob, layer));
            futures::future::try_join_all(each).await?;
        }
        let bytes = oci::to_json(config).map_err(unwritten)?;
        let described = Descriptor::of(CACHE_CONFIG, &bytes);
        let status = format!("writing config {}", described.digest);
        tell(self.events, &status, false);
        let content = self.stores.images.content();
        self.place.put_bytes(content, &described, &bytes).await?;
        tell(self.events, &status, true);
        let (root, bytes) = self.root(described, listed)?;
        let status = match self.attributes.image_manifest {
            true => format!("writing cache image manifest {}", root.digest),
            false => format!("writing cache manifest {}", root.digest),
        };
        tell(self.events, &status, false);
        self.place.put_root(&root, bytes).await?;
        tell(self.events, &status, true);
        let told = oci::to_json(&root).map_err(unwritten)?;
        let told = String::from_utf8(told).map_err(unwritten)?;
        Ok([("cache.manifest".to_owned(), told)].into())
    }

    /// The manifest, or the index for who asked for one.
    fn root(
        &self,
        config: Descriptor,
        mut layers: Vec<Descriptor>,
    ) -> Result<(Descriptor, Bytes), Failure> {
        for layer in &mut layers {
            layer.media_type = family(&layer.media_type, self.attributes.oci);
        }
        let (kind, bytes) = if self.attributes.image_manifest {
            let kind = media_type::OCI_MANIFEST;
            let manifest = Manifest::new(kind, config, layers);
            (kind, oci::to_json(&manifest).map_err(unwritten)?)
        } else {
            let kind = match self.attributes.oci {
                true => media_type::OCI_INDEX,
                false => media_type::DOCKER_INDEX,
            };
            layers.push(config);
            let index = Index::new(kind, layers);
            (kind, oci::to_json(&index).map_err(unwritten)?)
        };
        Ok((Descriptor::of(kind, &bytes), bytes.into()))
    }

    async fn send_layer(&self, blob: &Descriptor, layer: &WrittenLayer) -> Result<(), Failure> {
        let status = format!("writing layer {}", blob.digest);
        tell(self.events, &status, false);
        let content = self.stores.images.content();
        if !self.place.has(blob).await? {
            if !content.contains(&blob.digest) {
                let sessions = &self.request.sessions;
                let fetcher = self.stores.source.fetcher(sessions, self.events.clone());
                let fetched = self.stores.layers.ensure_blob(&layer.layer, &fetcher);
                fetched.await.map_err(layer_failure)?;
            }
            let put = self.place.put(content, blob).await;
            put.map_err(|mut failure| {
                failure.message = format!("error writing layer blob: {}", failure.message);
                failure
            })?;
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
