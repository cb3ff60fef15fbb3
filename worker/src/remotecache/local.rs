use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use cooper_core::{
    model::{Failure, FailureKind, SessionId},
    ports::{
        CacheExportRequest, CacheExporter, CacheImportRequest, CacheImporter, Cancelled,
        ClientContent, Events, ExportResponse, ImportedCache,
    },
};
use cooper_proto::{Digest, oci::Descriptor};

use super::{
    CacheStores,
    attributes::CacheAttributes,
    manifests::ByManifest,
    places::{InClient, Place},
    read::Reading,
    registry::stopped,
    write::Writing,
};
use crate::exporter::invalid;

/// Longest manifest of a cache in a directory.
///
/// # Units
/// Bytes.
const MANIFEST_BYTES: u64 = 8 << 20;

/// Caches in directories of clients (`type=local`), by the content stores of their sessions.
#[derive(Clone)]
pub struct LocalCache {
    stores: CacheStores,
}

impl LocalCache {
    /// Caches of these stores.
    #[must_use]
    pub const fn new(stores: CacheStores) -> Self {
        Self { stores }
    }

    async fn content(
        &self,
        folder: &str,
        sessions: &[SessionId],
    ) -> Result<Box<dyn ClientContent>, Failure> {
        let mut last = invalid("local cache exporter/importer requires session");
        for id in sessions {
            let opened = match self.stores.sessions.session(id).await {
                Ok(session) => session.content(&format!("local:{folder}")).await,
                Err(gone) => Err(gone),
            };
            match opened {
                Ok(content) => return Ok(content),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }
}

fn needed<'a>(
    attributes: &'a BTreeMap<String, String>,
    key: &str,
    message: &str,
) -> Result<&'a str, Failure> {
    let given = attributes.get(key).filter(|given| !given.is_empty());
    given.map(String::as_str).ok_or_else(|| invalid(message))
}

fn digest(attributes: &BTreeMap<String, String>) -> Result<Digest, Failure> {
    let message = "local cache importer requires explicit digest";
    let given = needed(attributes, "digest", message)?;
    given
        .parse()
        .map_err(|error| invalid(&format!("{given:?}: {error}")))
}

fn source(attributes: &BTreeMap<String, String>) -> Result<&str, Failure> {
    needed(attributes, "src", "local cache importer requires src")
}

fn destination(attributes: &BTreeMap<String, String>) -> Result<&str, Failure> {
    needed(attributes, "dest", "local cache exporter requires dest")
}

#[async_trait]
impl CacheImporter for LocalCache {
    fn kind(&self) -> &str {
        "local"
    }

    fn describe(&self, attributes: &BTreeMap<String, String>) -> Result<String, Failure> {
        source(attributes)?;
        Ok(format!("local:{}", digest(attributes)?.short()))
    }

    async fn import(
        &self,
        request: CacheImportRequest,
        events: Events,
    ) -> Result<Vec<ImportedCache>, Failure> {
        let (folder, digest) = (source(&request.attributes)?, digest(&request.attributes)?);
        let content = self.content(folder, &request.sessions).await?;
        let size = content.size(&digest).await?.ok_or_else(|| {
            let message = format!("the local cache {folder} has no {digest}");
            Failure::new(FailureKind::NotFound, message)
        })?;
        let place = Arc::new(InClient { content });
        let root = Descriptor::new("", digest, size);
        let bytes = place.document(&root, MANIFEST_BYTES).await?;
        let reading = Reading {
            stores: &self.stores,
            place,
            source: String::new(),
            eager: true,
            name: folder,
            events: &events,
        };
        reading.all(&bytes).await
    }
}

#[async_trait]
impl CacheExporter for LocalCache {
    fn kind(&self) -> &str {
        "local"
    }

    fn describe(&self, attributes: &BTreeMap<String, String>) -> Result<String, Failure> {
        destination(attributes)?;
        CacheAttributes::read(attributes)?;
        Ok("exporting cache to client directory".to_owned())
    }

    async fn export(
        &self,
        request: CacheExportRequest,
        events: Events,
        cancelled: Cancelled,
    ) -> Result<ExportResponse, Failure> {
        let folder = destination(&request.attributes)?;
        let content = self.content(folder, &request.sessions).await?;
        let attributes = CacheAttributes::read(&request.attributes)?;
        let target = ByManifest {
            place: &InClient { content },
            attributes: &attributes,
            content: self.stores.images.content(),
            events: &events,
        };
        let writing = Writing {
            stores: &self.stores,
            request: &request,
            layers: &attributes.layers,
            target: &target,
            events: &events,
        };
        tokio::select! {
            response = writing.run() => response,
            () = cancelled => Err(stopped()),
        }
    }
}
