use std::error::Error;

use async_trait::async_trait;
use cooper_core::{
    model::{Failure, OpEvent, SessionId, Status},
    ports::Events,
};
use cooper_proto::reference::Reference;

use super::image_resolve::{Origin, Resolver};
use crate::{
    content::VerifiedBlob,
    distribution::RepositoryName,
    images::content_failure,
    layer::FetchLayer,
    meta::{LayerBlob, LayerOrigin},
};

const REGISTRY: &str = "registry ";
const LAYOUT: &str = "layout ";

/// Brings layers of images here, in the name of a build: what a mount or an export of a
/// result needs first.
pub struct ImageFetcher {
    pub(super) resolver: Resolver,
    pub(super) sessions: Vec<SessionId>,
    pub(super) events: Events,
}

/// How a layer's record says where its blob is to be had.
pub(super) fn source_text(origin: &Origin, layout_store: Option<&str>) -> String {
    match origin {
        Origin::Local => String::new(),
        Origin::Registry(repository) => format!("{REGISTRY}{}", repository.name()),
        Origin::Layout | Origin::ClientLayout => {
            format!("{LAYOUT}{}", layout_store.unwrap_or_default())
        }
    }
}

/// The same for a repository that was named otherwise than by an image.
pub(crate) fn registry_source(repository: &RepositoryName) -> String {
    format!("{REGISTRY}{repository}")
}

/// The repository that a layer's record names.
pub(crate) fn repository_of(origin: &LayerOrigin) -> Option<Reference> {
    origin.source.strip_prefix(REGISTRY)?.parse().ok()
}

#[async_trait]
impl FetchLayer for ImageFetcher {
    async fn fetch(
        &self,
        origin: &LayerOrigin,
    ) -> Result<VerifiedBlob, Box<dyn Error + Send + Sync>> {
        // Removal must not take what is about to be used.
        let _hold = self.resolver.images.gate().hold().await;
        let blob = &origin.blob;
        let progress = self.progress(blob);
        let fetched = match &origin.source {
            source if source.starts_with(LAYOUT) => {
                let store = source.trim_start_matches(LAYOUT);
                self.pull_from_layout(store, blob, progress).await
            }
            _ => match repository_of(origin) {
                Some(reference) => self.pull_from_registry(&reference, blob, progress).await,
                None => Err(content_failure(&crate::content::ContentError::Missing(
                    blob.digest.clone(),
                ))),
            },
        };
        self.events.emit(OpEvent::Status(Status {
            id: blob.digest.to_string(),
            current: blob.size,
            total: blob.size,
            completed: true,
            ..Status::default()
        }));
        Ok(fetched?)
    }
}

impl ImageFetcher {
    /// Tells how far a blob is, not more often than people can see.
    fn progress(&self, blob: &LayerBlob) -> impl FnMut(u64) + Send + 'static {
        let (events, id, total) = (self.events.clone(), blob.digest.to_string(), blob.size);
        let step = (total / 100).max(1 << 20);
        let mut next = 0;
        move |current| {
            if current >= next {
                next = current + step;
                events.emit(OpEvent::Status(Status {
                    id: id.clone(),
                    current,
                    total,
                    completed: false,
                    ..Status::default()
                }));
            }
        }
    }

    async fn pull_from_registry(
        &self,
        reference: &Reference,
        blob: &LayerBlob,
        progress: impl FnMut(u64) + Send,
    ) -> Result<VerifiedBlob, Failure> {
        let repository = self.resolver.repository(reference, &self.sessions)?;
        let content = self.resolver.images.content();
        let named = (&blob.digest, blob.size);
        repository
            .pull_blob(content, named, &[], progress)
            .await
            .map_err(|error| {
                let mut failure = Failure::from(error);
                failure.message = format!(
                    "pulling layer {} of {reference}: {}",
                    blob.digest, failure.message
                );
                failure
            })
    }

    async fn pull_from_layout(
        &self,
        store: &str,
        blob: &LayerBlob,
        progress: impl FnMut(u64) + Send + 'static,
    ) -> Result<VerifiedBlob, Failure> {
        let place = self.resolver.layout(store, None, &self.sessions).await?;
        let content = self.resolver.images.content();
        place
            .copy_blob(content, (&blob.digest, blob.size), progress)
            .await
    }
}
