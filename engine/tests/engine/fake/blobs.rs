use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::{BlobInfo, Blobs, Pieces};
use cooper_proto::Digest;
use cooper_proto::oci::Descriptor;
use parking_lot::Mutex;

/// Blobs in memory. What nobody holds is gone at once.
#[derive(Default)]
pub(crate) struct FakeBlobs {
    kept: Mutex<BTreeMap<Digest, Bytes>>,
    held: Mutex<BTreeSet<(String, Digest)>>,
}

fn info(digest: &Digest, bytes: &Bytes) -> BlobInfo {
    BlobInfo {
        digest: digest.clone(),
        size: bytes.len() as u64,
        stored_ns: 1,
    }
}

#[async_trait]
impl Blobs for FakeBlobs {
    async fn list(&self) -> Result<Vec<BlobInfo>, Failure> {
        Ok(self.kept.lock().iter().map(|(d, b)| info(d, b)).collect())
    }

    async fn find(&self, digest: &Digest) -> Result<Option<BlobInfo>, Failure> {
        Ok(self
            .kept
            .lock()
            .get(digest)
            .map(|bytes| info(digest, bytes)))
    }

    async fn read(&self, digest: &Digest, offset: u64, length: u64) -> Result<Bytes, Failure> {
        let kept = self.kept.lock();
        let Some(bytes) = kept.get(digest) else {
            return Err(Failure::new(FailureKind::NotFound, "no such blob"));
        };
        let place = |at: u64| usize::try_from(at).expect("fits").min(bytes.len());
        Ok(bytes.slice(place(offset)..place(offset + length)))
    }

    async fn keep(&self, holder: &str, mut pieces: Box<dyn Pieces>) -> Result<BlobInfo, Failure> {
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.piece().await? {
            bytes.extend(piece);
        }
        let bytes = Bytes::from(bytes);
        let digest = Digest::sha256_of(&bytes);
        let kept = info(&digest, &bytes);
        self.kept.lock().insert(digest.clone(), bytes);
        self.held.lock().insert((holder.to_owned(), digest));
        Ok(kept)
    }

    async fn hold(&self, holder: &str, blob: &Descriptor) -> Result<(), Failure> {
        let held = (holder.to_owned(), blob.digest.clone());
        self.held.lock().insert(held);
        Ok(())
    }

    async fn holders(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let held = self.held.lock();
        let holders: BTreeSet<_> = held.iter().map(|(holder, _)| holder.clone()).collect();
        let wanted = holders.into_iter().filter(|it| it.starts_with(prefix));
        Ok(wanted.collect())
    }

    async fn let_go(&self, holder: &str) -> Result<(), Failure> {
        let mut held = self.held.lock();
        held.retain(|(by, _)| by != holder);
        let needed: BTreeSet<_> = held.iter().map(|(_, digest)| digest.clone()).collect();
        self.kept.lock().retain(|digest, _| needed.contains(digest));
        Ok(())
    }
}
