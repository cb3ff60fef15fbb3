use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::{ClientContent, ContentReader};
use cooper_proto::{Digest, oci::Descriptor};

use super::image_resolve::media_type_of;
use super::oci_layout::Layout;
use crate::content::{ContentStore, Expected, VerifiedBlob};
use crate::images::{Documents, content_failure};
use crate::limits::Limits;

/// Where a layout that a client offers is.
pub(super) enum LayoutPlace {
    /// On a disk of this machine.
    Here(Layout),
    /// Behind the client's connection.
    AtClient(ClientLayout),
}

/// An OCI layout's blobs behind a client's connection. All bytes are hashed here.
pub(super) struct ClientLayout {
    content: Box<dyn ClientContent>,
    store: String,
}

impl LayoutPlace {
    /// The descriptor of a document by its digest alone.
    pub(super) async fn describe(
        &self,
        digest: &Digest,
        limits: &Limits,
    ) -> Result<Descriptor, Failure> {
        match self {
            Self::Here(layout) => layout.describe(digest, limits).await,
            Self::AtClient(layout) => {
                let bytes = layout.small(digest, limits.manifest_bytes).await?;
                let size = bytes.len() as u64;
                Ok(Descriptor::new(media_type_of(&bytes), digest.clone(), size))
            }
        }
    }

    /// Copies a blob into the content store.
    ///
    /// # Errors
    /// When it is not there or is not what its name says.
    pub(super) async fn copy_blob(
        self,
        content: &ContentStore,
        (digest, size): (&Digest, u64),
        mut progress: impl FnMut(u64) + Send + 'static,
    ) -> Result<VerifiedBlob, Failure> {
        let layout = match self {
            Self::AtClient(layout) => {
                return layout.copy_blob(content, (digest, size), progress).await;
            }
            Self::Here(layout) => layout,
        };
        let (content, digest) = (content.clone(), digest.clone());
        let copied = tokio::task::spawn_blocking(move || {
            layout.copy_blob(&content, (&digest, size), &mut progress)
        });
        copied.await.unwrap_or_else(|error| {
            Err(Failure::new(
                FailureKind::Internal,
                format!("copying a blob: {error}"),
            ))
        })
    }
}

#[async_trait]
impl Documents for LayoutPlace {
    async fn document(&self, descriptor: &Descriptor) -> Result<Bytes, Failure> {
        match self {
            Self::Here(layout) => layout.document(descriptor).await,
            Self::AtClient(layout) => layout.small(&descriptor.digest, descriptor.size).await,
        }
    }
}

impl ClientLayout {
    /// The blobs of a client's store.
    pub(super) fn new(content: Box<dyn ClientContent>, store: &str) -> Self {
        Self {
            content,
            store: store.to_owned(),
        }
    }

    /// Opens a blob, whatever is in it.
    pub(super) async fn open_blob(
        &self,
        digest: &Digest,
    ) -> Result<Box<dyn ContentReader>, Failure> {
        self.content.read(digest).await
    }

    /// A document of at most `cap` bytes.
    async fn small(&self, digest: &Digest, cap: u64) -> Result<Bytes, Failure> {
        let mut reader = self.content.read(digest).await?;
        let mut bytes = Vec::new();
        while let Some(part) = reader.next().await? {
            if bytes.len() as u64 + part.len() as u64 > cap {
                return Err(self.refused(digest, &format!("is longer than {cap} bytes")));
            }
            bytes.extend_from_slice(&part);
        }
        if !digest.matches(&bytes) {
            return Err(self.refused(digest, "is not what its name says"));
        }
        Ok(bytes.into())
    }

    async fn copy_blob(
        &self,
        content: &ContentStore,
        (digest, size): (&Digest, u64),
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<VerifiedBlob, Failure> {
        let mut reader = self.content.read(digest).await?;
        let expected = Expected::described(digest.clone(), size);
        let mut ingest = content
            .ingest(expected)
            .map_err(|error| content_failure(&error))?;
        while let Some(part) = reader.next().await? {
            ingest = blocking(move || {
                ingest
                    .append(&part)
                    .map_err(|error| content_failure(&error))?;
                Ok(ingest)
            })
            .await?;
            progress(ingest.written());
        }
        blocking(move || ingest.commit().map_err(|error| content_failure(&error))).await
    }

    fn refused(&self, digest: &Digest, what: &str) -> Failure {
        Failure::new(
            FailureKind::InvalidInput,
            format!(
                "blob {digest} of the client's OCI layout {:?} {what}",
                self.store
            ),
        )
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Failure::new(FailureKind::Internal, error.to_string())),
    }
}
