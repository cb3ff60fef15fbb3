use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::{
    model::{Failure, FailureKind, OpEvent, Status},
    ports::{
        CacheExportRequest, CacheExporter, CacheImportRequest, CacheImporter, Cancelled, Events,
        ExportResponse, ImportedCache,
    },
};
use cooper_proto::{
    Digest,
    cache_config::{CacheConfig, CacheLayer, LayerAnnotations, NEVER},
    oci::{self, Descriptor},
};
use reqwest::Response;

use super::{attributes::Attributes, azblob::Azblob, gha::Gha, http::broken, s3::S3};
use crate::{
    content::{ContentStore, Expected},
    distribution::RetryPolicy,
    exporter::{ImageAttributes, family, invalid, tell, unwritten},
    images::content_failure,
    remotecache::{
        CacheStores,
        attributes::CacheAttributes,
        layers::{CREATED, CacheLayers, UNCOMPRESSED},
        places::{LayerSource, joined},
        registry::stopped,
        write::{Target, Writing},
    },
};

/// Longest document of a cache.
///
/// # Units
/// Bytes.
pub(super) const DOCUMENT_BYTES: usize = 64 << 20;

/// A store of objects, as a cache needs it.
#[async_trait]
pub(super) trait Objects: Send + Sync {
    /// How often something is asked for that does not arrive whole.
    fn attempts(&self) -> u32;

    /// How many layers are sent at a time.
    fn at_once(&self) -> usize;

    /// The cache's documents, none where there is no cache.
    async fn documents(&self) -> Result<Vec<Bytes>, Failure>;

    /// The bytes of a layer from a position on.
    ///
    /// # Errors
    /// `NotFound` when it is not there.
    async fn read(&self, blob: &Digest, from: u64) -> Result<Response, Failure>;

    /// Whether a layer is there, and will be for some time.
    async fn has(&self, blob: &Descriptor) -> Result<bool, Failure>;

    /// Puts a layer there.
    async fn put(&self, layer: &Layer) -> Result<(), Failure>;

    /// Replaces the document, by which the cache is found.
    async fn put_document(&self, document: Bytes) -> Result<(), Failure>;
}

/// A layer's file on this machine.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) path: PathBuf,
}

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    S3,
    Azblob,
    Gha,
}

/// Caches in one kind of store of objects (`type=s3`, `azblob`, `gha`).
#[derive(Clone)]
pub struct ObjectCache {
    kind: Kind,
    stores: CacheStores,
    retry: RetryPolicy,
}

impl ObjectCache {
    /// The variables of the daemon's environment that stand behind attributes ([`CacheStores::with_environment`]).
    pub const VARIABLES: [&'static str; 9] = [
        "AWS_ACCESS_KEY_ID",
        "AWS_BUCKET",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "BUILDKIT_AZURE_STORAGE_ACCOUNT_NAME",
        "BUILDKIT_AZURE_STORAGE_ACCOUNT_URL",
        "BUILDKIT_AZURE_STORAGE_CONTAINER",
        "BUILDKIT_AZURE_STORAGE_PREFIX",
    ];

    /// Caches of these stores in Amazon S3 and what speaks like it.
    #[must_use]
    pub fn s3(stores: CacheStores) -> Self {
        Self::new(Kind::S3, stores)
    }

    /// Caches of these stores in Azure Blob Storage.
    #[must_use]
    pub fn azblob(stores: CacheStores) -> Self {
        Self::new(Kind::Azblob, stores)
    }

    /// Caches of these stores in the cache of GitHub Actions.
    #[must_use]
    pub fn gha(stores: CacheStores) -> Self {
        Self::new(Kind::Gha, stores)
    }

    fn new(kind: Kind, stores: CacheStores) -> Self {
        let retry = stores.distribution.retry().clone();
        Self {
            kind,
            stores,
            retry,
        }
    }

    fn open(&self, attributes: &BTreeMap<String, String>) -> Result<Arc<dyn Objects>, Failure> {
        let retry = self.retry.clone();
        let given = Attributes {
            given: attributes,
            environment: &self.stores.environment,
        };
        Ok(match self.kind {
            Kind::S3 => Arc::new(S3::read(&given, retry)?),
            Kind::Azblob => Arc::new(Azblob::read(&given, retry)?),
            Kind::Gha => Arc::new(Gha::read(&given, retry, jiff::Timestamp::now())?),
        })
    }
}

#[async_trait]
impl CacheImporter for ObjectCache {
    fn kind(&self) -> &str {
        match self.kind {
            Kind::S3 => "s3",
            Kind::Azblob => "azblob",
            Kind::Gha => "gha",
        }
    }

    fn describe(&self, attributes: &BTreeMap<String, String>) -> Result<String, Failure> {
        self.open(attributes)?;
        Ok(CacheImporter::kind(self).to_owned())
    }

    async fn import(
        &self,
        request: CacheImportRequest,
        events: Events,
    ) -> Result<Vec<ImportedCache>, Failure> {
        let objects = self.open(&request.attributes)?;
        let documents = objects.documents().await?;
        if documents.is_empty() {
            events.emit(OpEvent::Status(Status {
                id: "there is no cache yet".to_owned(),
                completed: true,
                ..Status::default()
            }));
        }
        let read = documents.iter().map(|bytes| {
            let config = CacheConfig::parse(bytes)
                .map_err(|error| invalid(&format!("the cache's document: {error}")))?;
            Ok(self.imported(config, &objects))
        });
        read.collect()
    }
}

impl ObjectCache {
    fn imported(&self, config: CacheConfig, objects: &Arc<dyn Objects>) -> ImportedCache {
        let layers = config.layers.iter().filter_map(descriptor);
        let layers = layers.map(|layer| (layer.digest.clone(), layer)).collect();
        let source = InObjects(Arc::clone(objects));
        ImportedCache {
            layers: Arc::new(CacheLayers {
                stores: self.stores.clone(),
                layers,
                source: String::new(),
                eager: Some(Arc::new(source)),
                name: CacheImporter::kind(self).to_owned(),
            }),
            config,
        }
    }
}

/// What a document says of a layer, if it says enough.
fn descriptor(layer: &CacheLayer) -> Option<Descriptor> {
    let said = layer.annotations.as_ref()?;
    let size = u64::try_from(said.size).ok()?;
    let digest = layer.blob.parse().ok()?;
    let mut descriptor = Descriptor::new(&said.media_type, digest, size);
    let annotations = &mut descriptor.annotations;
    annotations.insert(UNCOMPRESSED.to_owned(), said.diff_id.clone());
    if said.created_at != NEVER {
        annotations.insert(CREATED.to_owned(), said.created_at.clone());
    }
    Some(descriptor)
}

pub(super) struct InObjects(pub(super) Arc<dyn Objects>);

#[async_trait]
impl LayerSource for InObjects {
    async fn fetch(&self, content: &ContentStore, blob: &Descriptor) -> Result<(), Failure> {
        if content.contains(&blob.digest) {
            return Ok(());
        }
        let expected = Expected::described(blob.digest.clone(), blob.size);
        let ingest = content.ingest(expected);
        let mut ingest = ingest.map_err(|error| content_failure(&error))?;
        let (mut here, mut attempt) = (0, 0);
        while here < blob.size || attempt == 0 {
            attempt += 1;
            let mut response = self.0.read(&blob.digest, here).await?;
            let url = response.url().clone();
            loop {
                let part = match response.chunk().await {
                    Ok(Some(part)) => part,
                    Ok(None) => break,
                    // It goes on from where it broke off.
                    Err(_) if attempt < self.0.attempts() => break,
                    Err(error) => return Err(broken(&url, &error)),
                };
                here += part.len() as u64;
                let appended = tokio::task::spawn_blocking(move || {
                    ingest.append(&part)?;
                    Ok(ingest)
                });
                ingest = joined(appended.await)?.map_err(|error| content_failure(&error))?;
            }
            if here < blob.size && attempt >= self.0.attempts() {
                let told = format!("{} ended after {here} of {} bytes", blob.digest, blob.size);
                return Err(Failure::new(FailureKind::Infrastructure, told));
            }
        }
        let committed = tokio::task::spawn_blocking(move || ingest.commit());
        joined(committed.await)?.map_err(|error| content_failure(&error))?;
        Ok(())
    }
}

#[async_trait]
impl CacheExporter for ObjectCache {
    fn kind(&self) -> &str {
        CacheImporter::kind(self)
    }

    fn describe(&self, attributes: &BTreeMap<String, String>) -> Result<String, Failure> {
        self.open(attributes)?;
        CacheAttributes::layers(attributes)?;
        let told = match self.kind {
            Kind::S3 => "exporting cache to Amazon S3",
            Kind::Azblob => "exporting cache to Azure Blob Storage",
            Kind::Gha => "exporting to GitHub Actions Cache",
        };
        Ok(told.to_owned())
    }

    async fn export(
        &self,
        request: CacheExportRequest,
        events: Events,
        cancelled: Cancelled,
    ) -> Result<ExportResponse, Failure> {
        let layers: ImageAttributes = CacheAttributes::layers(&request.attributes)?;
        let target = ToObjects {
            objects: self.open(&request.attributes)?,
            events: &events,
        };
        let writing = Writing {
            stores: &self.stores,
            request: &request,
            layers: &layers,
            target: &target,
            events: &events,
        };
        tokio::select! {
            response = writing.run() => response,
            () = cancelled => Err(stopped()),
        }
    }
}

struct ToObjects<'a> {
    objects: Arc<dyn Objects>,
    events: &'a Events,
}

#[async_trait]
impl Target for ToObjects<'_> {
    fn at_once(&self) -> usize {
        self.objects.at_once()
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Failure> {
        self.objects.has(blob).await
    }

    async fn put(&self, content: &ContentStore, blob: &Descriptor) -> Result<(), Failure> {
        let layer = Layer {
            digest: blob.digest.clone(),
            size: blob.size,
            path: content.blob_path(&blob.digest),
        };
        self.objects.put(&layer).await
    }

    async fn finish(
        &self,
        mut config: CacheConfig,
        layers: Vec<Descriptor>,
    ) -> Result<ExportResponse, Failure> {
        for (layer, descriptor) in config.layers.iter_mut().zip(layers) {
            let annotation = |key: &str| descriptor.annotations.get(key).cloned();
            layer.annotations = Some(LayerAnnotations {
                media_type: family(&descriptor.media_type, true),
                diff_id: annotation(UNCOMPRESSED).unwrap_or_default(),
                size: i64::try_from(descriptor.size).unwrap_or(i64::MAX),
                created_at: annotation(CREATED).unwrap_or_else(|| NEVER.to_owned()),
            });
        }
        let bytes = oci::to_json(&config).map_err(unwritten)?;
        let status = format!("writing cache manifest {}", Digest::sha256_of(&bytes));
        tell(self.events, &status, false);
        self.objects.put_document(bytes.into()).await?;
        tell(self.events, &status, true);
        Ok(ExportResponse::new())
    }
}
