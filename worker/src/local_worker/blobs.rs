use std::io::{Read, Seek, SeekFrom};

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::Failure;
use cooper_core::ports::{BlobInfo, Blobs, Pieces};
use cooper_proto::Digest;
use cooper_proto::oci::{Descriptor, media_type};

use super::LocalWorker;
use super::run::blocking;
use crate::content::{ContentError, ContentStore, Expected};
use crate::gc::HELD;
use crate::images::{content_failure, meta_failure};

#[async_trait]
impl Blobs for LocalWorker {
    async fn list(&self) -> Result<Vec<BlobInfo>, Failure> {
        let content = self.layers.content().clone();
        blocking(move || {
            let blobs = content.list().map_err(|error| content_failure(&error))?;
            Ok(blobs
                .into_iter()
                .map(|(digest, size)| info(&content, digest, size))
                .collect())
        })
        .await
    }

    async fn find(&self, digest: &Digest) -> Result<Option<BlobInfo>, Failure> {
        let (content, digest) = (self.layers.content().clone(), digest.clone());
        blocking(move || {
            let size = content
                .size(&digest)
                .map_err(|error| content_failure(&error))?;
            Ok(size.map(|size| info(&content, digest, size)))
        })
        .await
    }

    async fn read(&self, digest: &Digest, offset: u64, length: u64) -> Result<Bytes, Failure> {
        let (content, digest) = (self.layers.content().clone(), digest.clone());
        blocking(move || {
            let mut file = content
                .reader(&digest)
                .map_err(|error| content_failure(&error))?;
            let mut bytes = Vec::new();
            let read = file
                .seek(SeekFrom::Start(offset))
                .and_then(|_| file.take(length).read_to_end(&mut bytes));
            read.map_err(|error| content_failure(&ContentError::Source(error)))?;
            Ok(bytes.into())
        })
        .await
    }

    async fn keep(&self, holder: &str, mut bytes: Box<dyn Pieces>) -> Result<BlobInfo, Failure> {
        let _hold = self.images.gate().hold().await;
        let content = self.layers.content().clone();
        let begun = content.ingest(Expected::default());
        let mut ingest = begun.map_err(|error| content_failure(&error))?;
        while let Some(piece) = bytes.piece().await? {
            ingest = blocking(move || {
                ingest
                    .append(&piece)
                    .map_err(|error| content_failure(&error))?;
                Ok(ingest)
            })
            .await?;
        }
        let kept = blocking(move || {
            let blob = ingest.commit().map_err(|error| content_failure(&error))?;
            Ok(info(&content, blob.digest().clone(), blob.size()))
        })
        .await?;
        self.note_held(holder, vec![kept.digest.clone()]).await?;
        Ok(kept)
    }

    async fn hold(&self, holder: &str, blob: &Descriptor) -> Result<(), Failure> {
        let _hold = self.images.gate().hold().await;
        let (images, target) = (self.images.clone(), blob.clone());
        let held = blocking(move || {
            if !images.content().contains(&target.digest) {
                return Err(content_failure(&ContentError::Missing(target.digest)));
            }
            let blobs = images.reachable(&target)?;
            Ok(blobs
                .into_iter()
                .filter(|blob| !media_type::is_layer(&blob.media_type))
                .map(|blob| blob.digest)
                .collect())
        })
        .await?;
        self.note_held(holder, held).await
    }

    async fn holders(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let (meta, prefix) = (self.snapshots.meta().clone(), prefix.to_owned());
        blocking(move || {
            let held = meta.documents(HELD).map_err(|error| meta_failure(&error))?;
            let holders = held.iter().filter_map(|(key, _)| key.rsplit_once('|'));
            let mut holders: Vec<_> = holders
                .filter(|(holder, _)| holder.starts_with(&prefix))
                .map(|(holder, _)| holder.to_owned())
                .collect();
            holders.dedup();
            Ok(holders)
        })
        .await
    }

    async fn let_go(&self, holder: &str) -> Result<(), Failure> {
        let meta = self.snapshots.meta().clone();
        let prefix = format!("{holder}|");
        blocking(move || {
            let held = meta.documents(HELD).map_err(|error| meta_failure(&error))?;
            for (key, _) in held.iter().filter(|(key, _)| key.starts_with(&prefix)) {
                meta.save_document(HELD, key, None)
                    .map_err(|error| meta_failure(&error))?;
            }
            Ok(())
        })
        .await
    }
}

impl LocalWorker {
    async fn note_held(&self, holder: &str, digests: Vec<Digest>) -> Result<(), Failure> {
        let meta = self.snapshots.meta().clone();
        let holder = holder.to_owned();
        blocking(move || {
            for digest in digests {
                let key = format!("{holder}|{digest}");
                meta.save_document(HELD, &key, Some(Vec::new()))
                    .map_err(|error| meta_failure(&error))?;
            }
            Ok(())
        })
        .await
    }
}

fn info(content: &ContentStore, digest: Digest, size: u64) -> BlobInfo {
    BlobInfo {
        stored_ns: content.stored_ns(&digest).unwrap_or(0),
        digest,
        size,
    }
}
