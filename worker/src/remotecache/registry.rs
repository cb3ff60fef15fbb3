use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use cooper_core::{
    model::{Failure, FailureKind, SessionId},
    ports::{
        CacheExportRequest, CacheExporter, CacheImportRequest, CacheImporter, Cancelled, Events,
        ExportResponse, ImportedCache,
    },
};
use cooper_proto::reference::Reference;

use super::{
    CacheStores,
    attributes::{CacheAttributes, boolean},
    manifests::ByManifest,
    places::InRegistry,
    read::Reading,
    write::Writing,
};
use crate::{
    distribution::{Access, Keychain, RepositoryName, SessionKeychain},
    exporter::invalid,
    source::registry_source,
};

/// Caches in registries (`type=registry`).
#[derive(Clone)]
pub struct RegistryCache {
    stores: CacheStores,
}

impl RegistryCache {
    /// Caches of these stores.
    #[must_use]
    pub const fn new(stores: CacheStores) -> Self {
        Self { stores }
    }

    fn place(
        &self,
        reference: &Reference,
        attributes: &BTreeMap<String, String>,
        access: Access,
        sessions: &[SessionId],
    ) -> Result<InRegistry, Failure> {
        let keychain = SessionKeychain::new(Arc::clone(&self.stores.sessions), sessions);
        let keychain: Arc<dyn Keychain> = Arc::new(keychain);
        let name = RepositoryName {
            registry: reference.domain().to_owned(),
            path: reference.path().to_owned(),
        };
        let distribution = &self.stores.distribution;
        let repository = match boolean(attributes, "registry.insecure")?.unwrap_or(false) {
            true => distribution.insecure_repository(&name, &keychain)?,
            false => distribution.repository(&name, access, &keychain)?,
        };
        let tag = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        };
        Ok(InRegistry {
            repository,
            tag,
            others: Vec::new(),
            content: self.stores.images.content().clone(),
        })
    }
}

fn reference(attributes: &BTreeMap<String, String>) -> Result<Reference, Failure> {
    let given = attributes.get("ref").filter(|given| !given.is_empty());
    let given = given.ok_or_else(|| invalid("missing ref"))?;
    let parsed = given.parse::<Reference>();
    parsed
        .map(Reference::with_default_tag)
        .map_err(|error| invalid(&format!("{given:?}: {error}")))
}

#[async_trait]
impl CacheImporter for RegistryCache {
    fn kind(&self) -> &str {
        "registry"
    }

    fn describe(&self, attributes: &BTreeMap<String, String>) -> Result<String, Failure> {
        reference(attributes)?;
        boolean(attributes, "registry.insecure")?;
        Ok(attributes["ref"].clone())
    }

    async fn import(
        &self,
        request: CacheImportRequest,
        events: Events,
    ) -> Result<Vec<ImportedCache>, Failure> {
        let reference = reference(&request.attributes)?;
        let sessions = &request.sessions;
        let place = self.place(&reference, &request.attributes, Access::Pull, sessions)?;
        let root = place.repository.manifest(&place.tag).await?;
        let source = registry_source(place.repository.name());
        let reading = Reading {
            stores: &self.stores,
            place: Arc::new(place),
            source,
            eager: false,
            name: &reference.to_string(),
            events: &events,
        };
        reading.all(&root.bytes).await
    }
}

#[async_trait]
impl CacheExporter for RegistryCache {
    fn kind(&self) -> &str {
        "registry"
    }

    fn describe(&self, attributes: &BTreeMap<String, String>) -> Result<String, Failure> {
        CacheAttributes::read(attributes)?;
        reference(attributes)?;
        boolean(attributes, "registry.insecure")?;
        Ok("exporting cache to registry".to_owned())
    }

    async fn export(
        &self,
        request: CacheExportRequest,
        events: Events,
        cancelled: Cancelled,
    ) -> Result<ExportResponse, Failure> {
        let reference = reference(&request.attributes)?;
        let sessions = &request.sessions;
        let place = self.place(&reference, &request.attributes, Access::Push, sessions)?;
        let attributes = CacheAttributes::read(&request.attributes)?;
        let target = ByManifest {
            place: &place,
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

pub(super) fn stopped() -> Failure {
    Failure::new(FailureKind::Cancelled, "the cache export was cancelled")
}
