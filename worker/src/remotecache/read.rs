use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cooper_core::{
    model::{Failure, OpEvent, Status},
    ports::{Events, ImportedCache},
};
use cooper_proto::{
    Digest,
    cache_config::{CACHE_CONFIG, CacheConfig, CacheLayer, INLINE_CACHE},
    oci::{Descriptor, Document, Manifest, media_type},
};
use serde::Deserialize;

use super::{
    CacheStores,
    layers::{CREATED, CacheLayers, DESCRIPTION, UNCOMPRESSED},
    places::Place,
};
use crate::exporter::invalid;

/// Longest document of a cache.
///
/// # Units
/// Bytes. BuildKit reads no longer ones than 1 MiB; its own are longer for large builds.
const DOCUMENT_BYTES: u64 = 16 << 20;

/// Images of an index that are looked into for inline caches.
const IMAGES: usize = 64;

/// How one place's caches are read.
pub(super) struct Reading<'a> {
    pub(super) stores: &'a CacheStores,
    pub(super) place: Arc<dyn Place>,
    /// From where a layer's record says that it can be fetched.
    pub(super) source: String,
    /// Whether layers must come before the place goes away.
    pub(super) eager: bool,
    pub(super) name: &'a str,
    pub(super) events: &'a Events,
}

impl Reading<'_> {
    /// Reads what a manifest or index leads to: a cache's document, or images with caches in them.
    ///
    /// # Errors
    /// When a document cannot be read or is none.
    pub(super) async fn all(&self, root: &[u8]) -> Result<Vec<ImportedCache>, Failure> {
        let kind = kind(root)?;
        self.events.emit(OpEvent::Status(Status {
            id: format!("inferred cache manifest type: {kind}"),
            completed: true,
            ..Status::default()
        }));
        let root = document(kind, root)?;
        let (config, layers) = match &root {
            Document::Manifest(manifest) => {
                let config = Some(&manifest.config);
                (
                    config.filter(|it| it.media_type == CACHE_CONFIG),
                    manifest.layers.clone(),
                )
            }
            Document::Index(index) => {
                let mut listed = index.manifests.iter();
                (
                    listed.find(|it| it.media_type == CACHE_CONFIG),
                    index.manifests.clone(),
                )
            }
        };
        if let Some(config) = config {
            let bytes = self.place.document(config, DOCUMENT_BYTES).await?;
            let config = CacheConfig::parse(&bytes)
                .map_err(|error| invalid(&format!("the cache's document: {error}")))?;
            return Ok(vec![self.cache(config, layers)]);
        }
        let mut caches = Vec::new();
        match root {
            Document::Manifest(manifest) => caches.extend(self.inline(manifest).await?),
            Document::Index(index) => {
                for image in index.manifests.iter().take(IMAGES) {
                    if !media_type::is_manifest(&image.media_type) {
                        continue;
                    }
                    let bytes = self.place.document(image, DOCUMENT_BYTES).await?;
                    if let Document::Manifest(manifest) = document(kind_of(image, &bytes)?, &bytes)?
                    {
                        caches.extend(self.inline(manifest).await?);
                    }
                }
            }
        }
        Ok(caches)
    }

    fn cache(&self, config: CacheConfig, layers: Vec<Descriptor>) -> ImportedCache {
        let layers = layers.into_iter().map(|it| (it.digest.clone(), it));
        ImportedCache {
            config,
            layers: Arc::new(CacheLayers {
                stores: self.stores.clone(),
                layers: layers.collect::<BTreeMap<Digest, Descriptor>>(),
                source: self.source.clone(),
                eager: match self.eager {
                    true => Some(Arc::<dyn Place>::clone(&self.place)),
                    false => None,
                },
                name: self.name.to_owned(),
            }),
        }
    }

    /// The cache that an image has in its configuration, whose layers are the image's.
    async fn inline(&self, manifest: Manifest) -> Result<Option<ImportedCache>, Failure> {
        if manifest.layers.is_empty() || !media_type::is_config(&manifest.config.media_type) {
            return Ok(None);
        }
        let bytes = self
            .place
            .document(&manifest.config, DOCUMENT_BYTES)
            .await?;
        let image: InlineImage = serde_json::from_slice(&bytes)
            .map_err(|error| invalid(&format!("an image's configuration: {error}")))?;
        let diff_ids = image.rootfs.diff_ids;
        let Some(records) = image
            .cache
            .filter(|_| diff_ids.len() == manifest.layers.len())
        else {
            return Ok(None);
        };
        let unreadable =
            |error: &dyn std::fmt::Display| invalid(&format!("{INLINE_CACHE}: {error}"));
        let records = STANDARD
            .decode(records)
            .map_err(|error| unreadable(&error))?;
        let records = CacheConfig::parse_records(&records).map_err(|error| unreadable(&error))?;
        let mut history = image.history.into_iter().filter(|entry| !entry.empty_layer);
        let mut layers = Vec::with_capacity(manifest.layers.len());
        let mut config = CacheConfig {
            records,
            layers: Vec::new(),
        };
        for ((mut layer, diff_id), parent) in manifest.layers.into_iter().zip(diff_ids).zip(-1..) {
            let annotations = &mut layer.annotations;
            annotations.insert(UNCOMPRESSED.to_owned(), diff_id);
            if let Some(entry) = history.next() {
                annotations.extend(entry.created.map(|time| (CREATED.to_owned(), time)));
                annotations.insert(DESCRIPTION.to_owned(), entry.created_by);
            }
            config.layers.push(CacheLayer {
                blob: layer.digest.to_string(),
                parent,
                annotations: None,
            });
            layers.push(layer);
        }
        Ok(Some(self.cache(config, layers)))
    }
}

/// What an image's configuration says of its cache.
#[derive(Deserialize)]
struct InlineImage {
    #[serde(default)]
    rootfs: InlineRootFs,
    #[serde(default, rename = "moby.buildkit.cache.v0")]
    cache: Option<String>,
    #[serde(default)]
    history: Vec<InlineHistory>,
}

#[derive(Default, Deserialize)]
struct InlineRootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

#[derive(Deserialize)]
struct InlineHistory {
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    created_by: String,
    #[serde(default)]
    empty_layer: bool,
}

fn document(kind: &str, bytes: &[u8]) -> Result<Document, Failure> {
    Document::parse(kind, bytes).map_err(|error| invalid(&format!("the cache's manifest: {error}")))
}

fn kind_of<'a>(said: &'a Descriptor, bytes: &[u8]) -> Result<&'a str, Failure> {
    match said.media_type.as_str() {
        "" => kind(bytes),
        said => Ok(said),
    }
}

/// What kind of manifest these bytes are; local stores do not say.
fn kind(bytes: &[u8]) -> Result<&'static str, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        #[serde(default)]
        media_type: String,
        #[serde(default)]
        config: Option<serde_json::Value>,
        #[serde(default)]
        manifests: Option<serde_json::Value>,
    }
    let shape: Shape = serde_json::from_slice(bytes)
        .map_err(|error| invalid(&format!("the cache's manifest: {error}")))?;
    let known = [
        media_type::OCI_MANIFEST,
        media_type::OCI_INDEX,
        media_type::DOCKER_MANIFEST,
        media_type::DOCKER_INDEX,
    ];
    if let Some(said) = known.into_iter().find(|known| *known == shape.media_type) {
        return Ok(said);
    }
    match (shape.config, shape.manifests) {
        (Some(_), None) => Ok(media_type::OCI_MANIFEST),
        (None, Some(_)) => Ok(media_type::OCI_INDEX),
        _ => Err(invalid("unsupported or uninferrable manifest type")),
    }
}
