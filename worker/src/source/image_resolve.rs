use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::{
    model::{Failure, FailureKind, SessionId},
    ports::{ResolveMode, Sessions},
};
use cooper_proto::{
    Digest,
    oci::{Descriptor, media_type},
    reference::Reference,
};

use super::{
    client_layout::{ClientLayout, LayoutPlace},
    identifier::Wanted,
    oci_layout::Layout,
};
use crate::{
    content::ContentStore,
    distribution::{
        Access, Distribution, FetchedManifest, Keychain, Repository, RepositoryName,
        SessionKeychain,
    },
    images::{Documents, ImageStore, ImageTree, StoredDocuments, content_failure, meta_failure},
};

/// Collection of what a repository is known to have: key `repository@digest`, value the
/// document's media type.
const SEEN: &str = "image-seen-1";

/// Finds images by name: in the local store, in registries, in clients' layouts.
#[derive(Clone)]
pub(super) struct Resolver {
    pub(super) images: ImageStore,
    pub(super) distribution: Distribution,
    pub(super) sessions: Arc<dyn Sessions>,
}

/// An image that was found.
pub(super) struct Located {
    /// What was wanted, now with the digest it led to.
    pub(super) reference: Reference,
    pub(super) tree: ImageTree,
    pub(super) origin: Origin,
}

/// Where an image's documents and layers come from.
#[derive(Clone)]
pub(super) enum Origin {
    /// The local store has all of it.
    Local,
    /// A registry.
    Registry(Repository),
    /// A layout on this machine.
    Layout,
    /// A layout behind a client's connection.
    ClientLayout,
}

impl Resolver {
    /// Finds what is wanted and reads its documents, no layer.
    ///
    /// # Errors
    /// `NotFound` when it is nowhere, `Denied` when the registry wants (other) credentials.
    pub(super) async fn locate(
        &self,
        wanted: &Wanted,
        sessions: &[SessionId],
    ) -> Result<Located, Failure> {
        let located = match wanted.layout_store() {
            Some(store) => self.locate_in_layout(wanted, store, sessions).await?,
            None => self.locate_image(wanted, sessions).await?,
        };
        match &wanted.checksum {
            Some(checksum) if *checksum != located.tree.root.digest => Err(Failure::new(
                FailureKind::InvalidInput,
                format!(
                    "image digest {} for {} does not match expected checksum {checksum}",
                    located.tree.root.digest, wanted.reference
                ),
            )),
            _ => Ok(located),
        }
    }

    async fn locate_image(
        &self,
        wanted: &Wanted,
        sessions: &[SessionId],
    ) -> Result<Located, Failure> {
        let mut misfit = None;
        if wanted.mode != ResolveMode::ForcePull {
            match self.locate_locally(wanted).await {
                Ok(Some(located)) => return Ok(located),
                Ok(None) => {}
                // An image for another platform may have ours in the registry.
                Err(failure) if failure.kind == FailureKind::NotFound => misfit = Some(failure),
                Err(failure) => return Err(failure),
            }
        }
        match self.locate_remotely(wanted, sessions).await {
            Err(failure) => Err(misfit.unwrap_or(failure)),
            located => located,
        }
    }

    async fn locate_locally(&self, wanted: &Wanted) -> Result<Option<Located>, Failure> {
        let name = wanted.reference.clone();
        let known = wanted.local_root.clone();
        let known = known.filter(|it| self.images.content().contains(&it.digest));
        let found = match (name.digest(), self.images.find(&name)?) {
            _ if known.is_some() => known,
            (_, Some(found)) => Some(found),
            // `name:tag@digest` is the image of that name if it still is that digest.
            (Some(digest), None) => {
                let tagged = untagged_digest(&name);
                self.images.find(&tagged)?.filter(|it| it.digest == *digest)
            }
            (None, None) => None,
        };
        let Some(root) = found else {
            return Ok(None);
        };
        let documents = StoredDocuments::new(self.images.content(), self.images.limits());
        let tree = ImageTree::load(&documents, &root, &wanted.platform).await?;
        Ok(Some(Located {
            reference: name.with_digest(root.digest.clone()),
            tree,
            origin: Origin::Local,
        }))
    }

    async fn locate_remotely(
        &self,
        wanted: &Wanted,
        sessions: &[SessionId],
    ) -> Result<Located, Failure> {
        let repository = self.repository(&wanted.reference, sessions)?;
        let name = repository.name().to_string();
        let known = match wanted.reference.digest() {
            Some(digest) => self.seen(&name, digest)?,
            None => None,
        };
        let root = match known {
            Some(root) => root,
            None => self.ask(&wanted.reference, &repository).await?,
        };
        let documents = RegistryDocuments {
            resolver: self,
            repository: &repository,
        };
        let tree = ImageTree::load(&documents, &root, &wanted.platform).await?;
        Ok(Located {
            reference: wanted.reference.clone().with_digest(root.digest.clone()),
            tree,
            origin: Origin::Registry(repository),
        })
    }

    async fn locate_in_layout(
        &self,
        wanted: &Wanted,
        store: &str,
        sessions: &[SessionId],
    ) -> Result<Located, Failure> {
        let digest = wanted.reference.digest().ok_or_else(|| {
            Failure::new(
                FailureKind::InvalidInput,
                format!(
                    "oci-layout reference {} must have a digest",
                    wanted.reference
                ),
            )
        })?;
        let place = self
            .layout(store, wanted.layout_session.as_ref(), sessions)
            .await?;
        let root = place.describe(digest, self.images.limits()).await?;
        let tree = ImageTree::load(&place, &root, &wanted.platform).await?;
        Ok(Located {
            reference: wanted.reference.clone(),
            tree,
            origin: match place {
                LayoutPlace::Here(_) => Origin::Layout,
                LayoutPlace::AtClient(_) => Origin::ClientLayout,
            },
        })
    }

    /// The layout that a client offers under a store's name; the session that is named is asked first.
    pub(super) async fn layout(
        &self,
        store: &str,
        named: Option<&SessionId>,
        sessions: &[SessionId],
    ) -> Result<LayoutPlace, Failure> {
        let mut last = Failure::new(
            FailureKind::NotFound,
            format!("no session offers the OCI layout {store:?}"),
        );
        let others = sessions.iter().filter(|id| Some(*id) != named);
        for id in named.into_iter().chain(others) {
            let session = match self.sessions.session(id).await {
                Ok(session) => session,
                Err(failure) => {
                    last = failure;
                    continue;
                }
            };
            let found = match session.oci_layout(store).await {
                Ok(path) => Layout::open(&path).map(LayoutPlace::Here),
                Err(failure) if failure.kind == FailureKind::Unsupported => {
                    let content = session.content(&format!("oci:{store}")).await;
                    content.map(|it| LayoutPlace::AtClient(ClientLayout::new(it, store)))
                }
                Err(failure) => Err(failure),
            };
            match found {
                Ok(place) => return Ok(place),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    pub(super) fn repository(
        &self,
        reference: &Reference,
        sessions: &[SessionId],
    ) -> Result<Repository, Failure> {
        let keychain: Arc<dyn Keychain> =
            Arc::new(SessionKeychain::new(Arc::clone(&self.sessions), sessions));
        let name = RepositoryName {
            registry: reference.domain().to_owned(),
            path: reference.path().to_owned(),
        };
        Ok(self
            .distribution
            .repository(&name, Access::Pull, &keychain)?)
    }

    /// Asks the registry what a tag or digest is, and keeps the document.
    async fn ask(
        &self,
        reference: &Reference,
        repository: &Repository,
    ) -> Result<Descriptor, Failure> {
        let named = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        };
        let fetched = repository
            .manifest(&named)
            .await
            .map_err(|error| in_words(reference, error))?;
        self.keep(&repository.name().to_string(), fetched)
    }

    fn keep(&self, repository: &str, fetched: FetchedManifest) -> Result<Descriptor, Failure> {
        let media_type = match fetched.media_type.as_str() {
            said if is_document(said) => said.to_owned(),
            // Registries on plain file servers say nothing useful: the document does.
            _ => media_type_of(&fetched.bytes),
        };
        let size = fetched.bytes.len() as u64;
        let descriptor = Descriptor::new(media_type, fetched.digest, size);
        put(self.images.content(), &descriptor.digest, &fetched.bytes)?;
        self.images
            .meta()
            .save_document(
                SEEN,
                &format!("{repository}@{}", descriptor.digest),
                Some(descriptor.media_type.clone().into_bytes()),
            )
            .map_err(|error| meta_failure(&error))?;
        Ok(descriptor)
    }

    /// A document that this repository gave before and that is still here: who may read
    /// one repository may not read another's documents because somebody else could.
    fn seen(&self, repository: &str, digest: &Digest) -> Result<Option<Descriptor>, Failure> {
        let known = self
            .images
            .meta()
            .document(SEEN, &format!("{repository}@{digest}"))
            .map_err(|error| meta_failure(&error))?;
        let size = self
            .images
            .content()
            .size(digest)
            .map_err(|error| content_failure(&error))?;
        Ok(match (known.map(String::from_utf8), size) {
            (Some(Ok(media_type)), Some(size)) => {
                Some(Descriptor::new(media_type, digest.clone(), size))
            }
            _ => None,
        })
    }
}

/// The documents of one repository.
pub(super) struct RegistryDocuments<'a> {
    pub(super) resolver: &'a Resolver,
    pub(super) repository: &'a Repository,
}

#[async_trait]
impl Documents for RegistryDocuments<'_> {
    async fn document(&self, descriptor: &Descriptor) -> Result<Bytes, Failure> {
        let images = &self.resolver.images;
        let cap = images.limits().manifest_bytes;
        if let Ok(bytes) = images.content().read(&descriptor.digest, cap) {
            return Ok(bytes.into());
        }
        if is_document(&descriptor.media_type) {
            let fetched = self.repository.manifest(descriptor.digest.as_str()).await?;
            put(images.content(), &descriptor.digest, &fetched.bytes)?;
            return Ok(fetched.bytes);
        }
        if descriptor.size > cap {
            return Err(Failure::new(
                FailureKind::InvalidInput,
                format!(
                    "image configuration {} has {} bytes; at most {cap} are read",
                    descriptor.digest, descriptor.size
                ),
            ));
        }
        let named = (&descriptor.digest, descriptor.size);
        self.repository
            .pull_blob(images.content(), named, &[], |_| ())
            .await?;
        let bytes = images
            .content()
            .read(&descriptor.digest, cap)
            .map_err(|error| content_failure(&error))?;
        Ok(bytes.into())
    }
}

/// `name:tag` of `name:tag@digest`.
fn untagged_digest(name: &Reference) -> Reference {
    let text = name.to_string();
    let tagged = text.split('@').next().unwrap_or(&text);
    tagged
        .parse::<Reference>()
        .map_or_else(|_| name.clone(), Reference::with_default_tag)
}

fn is_document(kind: &str) -> bool {
    media_type::is_manifest(kind)
        || media_type::is_index(kind)
        || kind.starts_with("application/vnd.docker.distribution.manifest.v1+")
}

/// The media type that a document says it has.
pub(super) fn media_type_of(bytes: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Said {
        #[serde(default)]
        media_type: String,
        #[serde(default)]
        schema_version: u32,
        manifests: Option<serde::de::IgnoredAny>,
        config: Option<serde::de::IgnoredAny>,
    }
    let Ok(said) = serde_json::from_slice::<Said>(bytes) else {
        return String::new();
    };
    match (said.media_type.is_empty(), said.schema_version) {
        (false, _) => said.media_type,
        (true, 1) => "application/vnd.docker.distribution.manifest.v1+json".to_owned(),
        (true, _) if said.manifests.is_some() => media_type::OCI_INDEX.to_owned(),
        (true, _) if said.config.is_some() => media_type::OCI_MANIFEST.to_owned(),
        _ => String::new(),
    }
}

fn put(content: &ContentStore, digest: &Digest, bytes: &[u8]) -> Result<(), Failure> {
    let mut ingest = content
        .ingest(crate::content::Expected::described(
            digest.clone(),
            bytes.len() as u64,
        ))
        .map_err(|error| content_failure(&error))?;
    ingest
        .append(bytes)
        .and_then(|()| ingest.commit())
        .map(|_| ())
        .map_err(|error| content_failure(&error))
}

fn in_words(reference: &Reference, error: crate::distribution::DistributionError) -> Failure {
    if error.is_not_found() {
        return Failure::new(FailureKind::NotFound, format!("{reference}: not found"))
            .with_hint(format!("{} said so", reference.domain()));
    }
    let mut failure = Failure::from(error);
    failure.message = format!("{reference}: {}", failure.message);
    failure
}
