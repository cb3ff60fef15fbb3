use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use cooper_core::{
    model::{Failure, OpEvent, Status},
    ports::{Events, ExportRequest},
};
use cooper_proto::{
    Digest,
    oci::{Descriptor, media_type},
    reference::Reference,
};

use super::{
    attributes::invalid,
    image::{ImageExporter, parse_name},
    image_layers::WrittenLayer,
    image_writer::{WrittenImage, tell},
};
use crate::{
    distribution::{Access, BlobFile, Keychain, Repository, RepositoryName, SessionKeychain},
    images::{blame, content_failure},
    source::{layer_failure, repository_of},
};

/// One push of an image to one name.
pub(super) struct Push<'a> {
    pub(super) exporter: &'a ImageExporter,
    pub(super) request: &'a ExportRequest,
    pub(super) events: &'a Events,
    pub(super) image: &'a WrittenImage,
    pub(super) by_digest: bool,
    pub(super) insecure: bool,
}

impl Push<'_> {
    /// Pushes what the registry lacks: blobs several at a time, then manifests, the one that
    /// the name points to last.
    ///
    /// # Errors
    /// When the registry refuses. Its tag still is what it was then.
    pub(super) async fn run(&self, name: &str) -> Result<(), Failure> {
        let reference = parse_name(name)?;
        let named = self.name_in_registry(name, &reference)?;
        let sources = self.sources(&reference);
        let repository = self.repository(&reference)?.with_sources(&sources);
        tell(self.events, "pushing layers", false);
        let pushed = self.push_blobs(&repository, &sources).await;
        tell(self.events, "pushing layers", true);
        pushed?;
        let root = &self.image.root.digest;
        let status = match self.by_digest {
            true => format!("pushing manifest for {}", repository.name()),
            false => format!("pushing manifest for {reference}@{root}"),
        };
        tell(self.events, &status, false);
        let pushed = self.push_manifests(&repository, &named).await;
        tell(self.events, &status, true);
        pushed
    }

    /// The tag or digest under which the root is put.
    fn name_in_registry(&self, name: &str, reference: &Reference) -> Result<String, Failure> {
        let bare: Reference = name
            .parse()
            .map_err(|error| invalid(&format!("failed to parse {name}: {error}")))?;
        if !self.by_digest {
            let tag = reference.tag().map(ToOwned::to_owned);
            return Ok(tag.unwrap_or_else(|| self.image.root.digest.to_string()));
        }
        if bare.tag().is_some() || bare.digest().is_some() {
            return Err(invalid(&format!("can't push tagged ref {bare} by digest")));
        }
        Ok(self.image.root.digest.to_string())
    }

    fn repository(&self, reference: &Reference) -> Result<Repository, Failure> {
        let sessions = Arc::clone(&self.exporter.sessions);
        let keychain = SessionKeychain::new(sessions, &self.request.sessions);
        let keychain: Arc<dyn Keychain> = Arc::new(keychain);
        let name = repository_name(reference);
        let distribution = &self.exporter.distribution;
        Ok(match self.insecure {
            true => distribution.insecure_repository(&name, &keychain)?,
            false => distribution.repository(&name, Access::Push, &keychain)?,
        })
    }

    fn layers(&self) -> impl Iterator<Item = &WrittenLayer> {
        self.image.manifests.iter().flat_map(|it| &it.layers)
    }

    /// Repositories of the same registry that have some of the layers.
    fn sources(&self, reference: &Reference) -> Vec<RepositoryName> {
        let mut sources: Vec<RepositoryName> = self
            .layers()
            .filter_map(|layer| repository_of(layer.origin.as_ref()?))
            .filter(|source| source.domain() == reference.domain())
            .map(|source| repository_name(&source))
            .collect();
        sources.sort();
        sources.dedup();
        sources
    }

    async fn push_blobs(
        &self,
        repository: &Repository,
        sources: &[RepositoryName],
    ) -> Result<(), Failure> {
        let mut blobs: BTreeMap<Digest, (Descriptor, Option<WrittenLayer>)> = BTreeMap::new();
        for manifest in &self.image.manifests {
            let config = manifest.config.clone();
            blobs.insert(config.digest.clone(), (config, None));
        }
        for said in &self.image.statements {
            for blob in said.statements.iter().chain([&said.config]) {
                blobs.insert(blob.digest.clone(), (blob.clone(), None));
            }
        }
        for layer in self.layers() {
            let descriptor = layer.descriptor.clone();
            if !media_type::is_nondistributable_layer(&descriptor.media_type) {
                blobs.insert(descriptor.digest.clone(), (descriptor, Some(layer.clone())));
            }
        }
        let total = blobs.values().map(|(descriptor, _)| descriptor.size).sum();
        let done = AtomicU64::new(0);
        let each = blobs.values().map(|(descriptor, layer)| {
            let mut seen = 0;
            let done = &done;
            let progress = move |at: u64| {
                let at = at.min(descriptor.size);
                let current = done.fetch_add(at.saturating_sub(seen), Ordering::Relaxed);
                seen = seen.max(at);
                self.events.emit(OpEvent::Status(Status {
                    id: "pushing layers".to_owned(),
                    current: current + at.saturating_sub(seen),
                    total,
                    completed: false,
                    ..Status::default()
                }));
            };
            self.push_blob(repository, sources, descriptor, layer.as_ref(), progress)
        });
        futures::future::try_join_all(each).await?;
        Ok(())
    }

    async fn push_blob(
        &self,
        repository: &Repository,
        sources: &[RepositoryName],
        descriptor: &Descriptor,
        layer: Option<&WrittenLayer>,
        progress: impl FnMut(u64) + Send,
    ) -> Result<(), Failure> {
        let content = self.exporter.images.content();
        if let Some(layer) = layer.filter(|_| !content.contains(&descriptor.digest)) {
            // It is in its own registry only. Often that is this one, or this one has it.
            if repository.has_blob(&descriptor.digest).await? {
                return Ok(());
            }
            for source in sources {
                if repository.mount_blob(&descriptor.digest, source).await? {
                    return Ok(());
                }
            }
            let sessions = &self.request.sessions;
            let fetcher = self.exporter.source.fetcher(sessions, self.events.clone());
            self.exporter
                .layers
                .ensure_blob(&layer.layer, &fetcher)
                .await
                .map_err(layer_failure)?;
        }
        let blob = BlobFile {
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            path: content.blob_path(&descriptor.digest),
        };
        match repository.push_blob(&blob, sources, progress).await {
            Ok(_) => Ok(()),
            Err(refused) => Err(blame(content, &blob.digest, refused.into()).await),
        }
    }

    async fn push_manifests(&self, repository: &Repository, named: &str) -> Result<(), Failure> {
        if self.image.is_index {
            let push = |descriptor: Descriptor| async move {
                let digest = descriptor.digest.to_string();
                self.push_manifest(repository, &digest, &descriptor).await
            };
            let images = self.image.manifests.iter();
            let images = images.map(|it| push(it.descriptor.clone()));
            futures::future::try_join_all(images).await?;
            // What is said of an image comes after it: registries may ask for what a statement is about.
            let said = self.image.statements.iter();
            let said = said.map(|it| push(it.descriptor.clone()));
            futures::future::try_join_all(said).await?;
        }
        self.push_manifest(repository, named, &self.image.root)
            .await
    }

    async fn push_manifest(
        &self,
        repository: &Repository,
        named: &str,
        descriptor: &Descriptor,
    ) -> Result<(), Failure> {
        let images = &self.exporter.images;
        let bytes = images
            .content()
            .read(&descriptor.digest, images.limits().manifest_bytes)
            .map_err(|error| content_failure(&error))?;
        repository
            .push_manifest(named, &descriptor.media_type, &bytes.into())
            .await?;
        Ok(())
    }
}

fn repository_name(reference: &Reference) -> RepositoryName {
    RepositoryName {
        registry: reference.domain().to_owned(),
        path: reference.path().to_owned(),
    }
}
