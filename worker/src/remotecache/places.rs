use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::{
    model::{Failure, FailureKind},
    ports::ClientContent,
};
use cooper_proto::oci::{Descriptor, media_type};
use tokio::io::AsyncReadExt;

use crate::{
    content::{ContentStore, Expected},
    distribution::{BlobFile, Repository, RepositoryName},
    images::content_failure,
};

/// Bytes that travel at once.
const CHUNK: usize = 1 << 20;

/// A place that layers come from.
#[async_trait]
pub(crate) trait LayerSource: Send + Sync {
    /// Brings a blob into the content store, verified.
    async fn fetch(&self, content: &ContentStore, blob: &Descriptor) -> Result<(), Failure>;
}

/// A place that has blobs of caches.
#[async_trait]
pub(crate) trait Place: LayerSource {
    /// Reads a document, verified.
    ///
    /// # Errors
    /// `InvalidInput` for one that is longer than `cap` bytes or not what its digest says.
    async fn document(&self, descriptor: &Descriptor, cap: u64) -> Result<Bytes, Failure>;

    /// Whether the place has a blob, or can have it without its bytes coming from here.
    async fn has(&self, blob: &Descriptor) -> Result<bool, Failure>;

    /// Puts a blob of the content store there.
    async fn put(&self, content: &ContentStore, blob: &Descriptor) -> Result<(), Failure>;

    /// Puts a manifest or index there, which is what the cache is found by.
    async fn put_root(&self, root: &Descriptor, bytes: Bytes) -> Result<(), Failure>;

    /// Puts a small document there.
    async fn put_bytes(
        &self,
        content: &ContentStore,
        blob: &Descriptor,
        bytes: &[u8],
    ) -> Result<(), Failure> {
        content
            .put(bytes)
            .map_err(|error| content_failure(&error))?;
        self.put(content, blob).await
    }
}

/// A repository of a registry.
pub(super) struct InRegistry {
    pub(super) repository: Repository,
    /// Tag of the cache.
    pub(super) tag: String,
    /// Other repositories of the registry that may have layers.
    pub(super) others: Vec<RepositoryName>,
    /// Where documents are kept on their way.
    pub(super) content: ContentStore,
}

#[async_trait]
impl LayerSource for InRegistry {
    async fn fetch(&self, content: &ContentStore, blob: &Descriptor) -> Result<(), Failure> {
        if !content.contains(&blob.digest) {
            let named = (&blob.digest, blob.size);
            self.repository
                .pull_blob(content, named, &[], |_| ())
                .await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Place for InRegistry {
    async fn document(&self, descriptor: &Descriptor, cap: u64) -> Result<Bytes, Failure> {
        let kind = descriptor.media_type.as_str();
        if media_type::is_manifest(kind) || media_type::is_index(kind) {
            let named = descriptor.digest.to_string();
            return Ok(self.repository.manifest(&named).await?.bytes);
        }
        short_enough(descriptor, cap)?;
        self.fetch(&self.content, descriptor).await?;
        let bytes = self.content.read(&descriptor.digest, cap);
        Ok(bytes.map_err(|error| content_failure(&error))?.into())
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Failure> {
        if self.repository.has_blob(&blob.digest).await? {
            return Ok(true);
        }
        for other in &self.others {
            if self.repository.mount_blob(&blob.digest, other).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn put(&self, content: &ContentStore, blob: &Descriptor) -> Result<(), Failure> {
        let file = BlobFile {
            digest: blob.digest.clone(),
            size: blob.size,
            path: content.blob_path(&blob.digest),
        };
        self.repository
            .push_blob(&file, &self.others, |_| ())
            .await?;
        Ok(())
    }

    async fn put_root(&self, root: &Descriptor, bytes: Bytes) -> Result<(), Failure> {
        let pushed = self
            .repository
            .push_manifest(&self.tag, &root.media_type, &bytes);
        Ok(pushed.await?)
    }
}

/// A content store of a client.
pub(crate) struct InClient {
    pub(crate) content: Box<dyn ClientContent>,
}

#[async_trait]
impl LayerSource for InClient {
    async fn fetch(&self, content: &ContentStore, blob: &Descriptor) -> Result<(), Failure> {
        if content.contains(&blob.digest) {
            return Ok(());
        }
        let mut reader = self.content.read(&blob.digest).await?;
        let mut ingest = content
            .ingest(Expected::described(blob.digest.clone(), blob.size))
            .map_err(|error| content_failure(&error))?;
        while let Some(part) = reader.next().await? {
            let appended = tokio::task::spawn_blocking(move || {
                ingest.append(&part)?;
                Ok(ingest)
            });
            ingest = joined(appended.await)?.map_err(|error| content_failure(&error))?;
        }
        let committed = tokio::task::spawn_blocking(move || ingest.commit());
        joined(committed.await)?.map_err(|error| content_failure(&error))?;
        Ok(())
    }
}

#[async_trait]
impl Place for InClient {
    async fn document(&self, descriptor: &Descriptor, cap: u64) -> Result<Bytes, Failure> {
        short_enough(descriptor, cap)?;
        let mut reader = self.content.read(&descriptor.digest).await?;
        let mut bytes = Vec::new();
        while let Some(part) = reader.next().await? {
            bytes.extend_from_slice(&part);
            if bytes.len() as u64 > cap {
                return Err(too_long(descriptor, cap));
            }
        }
        if descriptor.digest.algorithm().digest(&bytes) != descriptor.digest {
            return Err(Failure::new(
                FailureKind::InvalidInput,
                format!("the client's {} has other bytes", descriptor.digest),
            ));
        }
        Ok(bytes.into())
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Failure> {
        let size = self.content.size(&blob.digest).await?;
        Ok(size.is_some())
    }

    async fn put(&self, content: &ContentStore, blob: &Descriptor) -> Result<(), Failure> {
        let Some(mut writer) = self.content.write(&blob.digest, blob.size).await? else {
            return Ok(());
        };
        let mut file = content
            .async_reader(&blob.digest)
            .map_err(|error| content_failure(&error))?;
        loop {
            let mut part = Vec::with_capacity(CHUNK);
            let read = (&mut file).take(CHUNK as u64).read_to_end(&mut part).await;
            let read = read.map_err(|error| {
                Failure::new(
                    FailureKind::Infrastructure,
                    format!("{}: {error}", blob.digest),
                )
            })?;
            if read == 0 {
                return writer.commit().await;
            }
            writer.write(part.into()).await?;
        }
    }

    async fn put_root(&self, root: &Descriptor, bytes: Bytes) -> Result<(), Failure> {
        if let Some(mut writer) = self.content.write(&root.digest, root.size).await? {
            writer.write(bytes).await?;
            writer.commit().await?;
        }
        Ok(())
    }
}

pub(super) fn joined<T>(result: Result<T, tokio::task::JoinError>) -> Result<T, Failure> {
    result.map_err(|error| Failure::new(FailureKind::Internal, error.to_string()))
}

fn short_enough(descriptor: &Descriptor, cap: u64) -> Result<(), Failure> {
    match descriptor.size > cap {
        true => Err(too_long(descriptor, cap)),
        false => Ok(()),
    }
}

fn too_long(descriptor: &Descriptor, cap: u64) -> Failure {
    Failure::new(
        FailureKind::InvalidInput,
        format!(
            "blob {} is too large ({} > {cap})",
            descriptor.digest, descriptor.size
        ),
    )
}
