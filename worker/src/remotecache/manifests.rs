use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::{
    model::Failure,
    ports::{Events, ExportResponse},
};
use cooper_proto::{
    cache_config::{CACHE_CONFIG, CacheConfig},
    oci::{self, Descriptor, Index, Manifest, media_type},
};

use super::{attributes::CacheAttributes, places::Place, write::Target};
use crate::{
    content::ContentStore,
    exporter::{family, tell, unwritten},
};

/// How many layers are sent at a time.
const AT_ONCE: usize = 4;

/// A cache that is found by a manifest or index.
pub(super) struct ByManifest<'a> {
    pub(super) place: &'a dyn Place,
    pub(super) attributes: &'a CacheAttributes,
    pub(super) content: &'a ContentStore,
    pub(super) events: &'a Events,
}

#[async_trait]
impl Target for ByManifest<'_> {
    fn at_once(&self) -> usize {
        AT_ONCE
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Failure> {
        self.place.has(blob).await
    }

    async fn put(&self, content: &ContentStore, blob: &Descriptor) -> Result<(), Failure> {
        self.place.put(content, blob).await
    }

    async fn finish(
        &self,
        config: CacheConfig,
        layers: Vec<Descriptor>,
    ) -> Result<ExportResponse, Failure> {
        let bytes = oci::to_json(&config).map_err(unwritten)?;
        let described = Descriptor::of(CACHE_CONFIG, &bytes);
        let status = format!("writing config {}", described.digest);
        tell(self.events, &status, false);
        self.place
            .put_bytes(self.content, &described, &bytes)
            .await?;
        tell(self.events, &status, true);
        let (root, bytes) = self.root(described, layers)?;
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
}

impl ByManifest<'_> {
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
}
