use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind, SessionId};
use cooper_core::ports::{ChunkSource, ContentReader, Sessions};
use cooper_proto::Digest;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::super::client_layout::LayoutPlace;
use super::super::image_resolve::Resolver;
use super::wanted::BlobPlace;
use crate::distribution::{Distribution, DistributionError, Repository};
use crate::images::ImageStore;

/// Finds blobs by their places.
#[derive(Clone)]
pub(crate) struct Blobs {
    resolver: Resolver,
}

/// Those who say that they have a blob, one after the other.
pub(in crate::source) struct Offers {
    digest: Digest,
    who: Who,
}

enum Who {
    /// A repository's hosts, from this one on.
    Hosts(Repository, usize),
    Layout(Option<LayoutPlace>),
}

impl Blobs {
    pub(crate) fn new(
        images: &ImageStore,
        distribution: &Distribution,
        sessions: Arc<dyn Sessions>,
    ) -> Self {
        Self {
            resolver: Resolver {
                images: images.clone(),
                distribution: distribution.clone(),
                sessions,
            },
        }
    }

    /// Who may have a blob. No bytes of it are asked for yet.
    ///
    /// # Errors
    /// `NotFound` when no session has the store.
    pub(in crate::source) async fn offers(
        &self,
        place: &BlobPlace,
        sessions: &[SessionId],
    ) -> Result<Offers, Failure> {
        let who = match &place.store {
            None => Who::Hosts(self.resolver.repository(&place.reference, sessions)?, 0),
            Some(store) => {
                let session = place.session.as_ref();
                let layout = self.resolver.layout(store, session, sessions).await?;
                Who::Layout(Some(layout))
            }
        };
        Ok(Offers {
            digest: place.digest.clone(),
            who,
        })
    }
}

impl Offers {
    /// The bytes as the next one has them, whatever they are; `None` when nobody is left.
    pub(in crate::source) async fn next(
        &mut self,
    ) -> Option<Result<Box<dyn ChunkSource>, Failure>> {
        match &mut self.who {
            Who::Hosts(repository, at) => {
                let opened = repository.open_blob(*at, &self.digest).await;
                *at += 1;
                let chunks = opened.transpose()?;
                let chunks = chunks.map(|it| Box::new(Chunks(it)) as Box<dyn ChunkSource>);
                Some(chunks.map_err(Failure::from))
            }
            Who::Layout(place) => Some(match place.take()? {
                LayoutPlace::Here(layout) => layout
                    .open_blob(&self.digest)
                    .map(|file| Box::new(Pieces(Some(file))) as Box<dyn ChunkSource>),
                LayoutPlace::AtClient(layout) => layout
                    .open_blob(&self.digest)
                    .await
                    .map(|reader| Box::new(Parts(reader)) as Box<dyn ChunkSource>),
            }),
        }
    }
}

/// What is said when nobody has a blob.
pub(in crate::source) fn nobody(place: &BlobPlace) -> Failure {
    Failure::new(FailureKind::NotFound, format!("{place}: not found"))
}

struct Chunks(BoxStream<'static, Result<Bytes, DistributionError>>);

#[async_trait]
impl ChunkSource for Chunks {
    async fn receive(&mut self) -> Result<Option<Bytes>, Failure> {
        Ok(self.0.next().await.transpose()?)
    }
}

struct Parts(Box<dyn ContentReader>);

#[async_trait]
impl ChunkSource for Parts {
    async fn receive(&mut self) -> Result<Option<Bytes>, Failure> {
        self.0.next().await
    }
}

/// A file, piece by piece.
struct Pieces(Option<File>);

/// As much of a file as is read at once.
///
/// # Units
/// Bytes.
const PIECE: usize = 1 << 20;

#[async_trait]
impl ChunkSource for Pieces {
    async fn receive(&mut self) -> Result<Option<Bytes>, Failure> {
        let Some(mut file) = self.0.take() else {
            return Ok(None);
        };
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; PIECE];
            let count = file.read(&mut piece)?;
            piece.truncate(count);
            Ok::<_, std::io::Error>((file, piece))
        });
        let read = read
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let (file, piece) = read.map_err(|error| {
            Failure::new(
                FailureKind::Infrastructure,
                format!("reading a blob: {error}"),
            )
        })?;
        self.0 = Some(file);
        Ok((!piece.is_empty()).then(|| piece.into()))
    }
}
