use async_trait::async_trait;
use bytes::Bytes;
use cooper_proto::Digest;
use cooper_proto::oci::Descriptor;

use crate::model::Failure;

/// The worker's content store, for who reads blobs by digest and for what the engine wants kept there.
///
/// # Model
/// A blob stays as long as somebody needs it: an image with a name, a layer that is kept, or a holder. A holder is a
/// name that the engine chooses, such as `history/<build>`; it has no slashes beyond the first and no bars.
#[async_trait]
pub trait Blobs: Send + Sync {
    /// Every blob, in the order of their digests.
    ///
    /// # Errors
    /// `Infrastructure` when the store cannot be listed.
    async fn list(&self) -> Result<Vec<BlobInfo>, Failure>;

    /// What is known of a blob, `None` when there is none.
    ///
    /// # Errors
    /// `Infrastructure` when the store cannot be asked.
    async fn find(&self, digest: &Digest) -> Result<Option<BlobInfo>, Failure>;

    /// Up to `length` bytes from `offset` on; fewer only at the blob's end.
    ///
    /// # Errors
    /// `NotFound` when there is no such blob.
    async fn read(&self, digest: &Digest, offset: u64, length: u64) -> Result<Bytes, Failure>;

    /// Keeps bytes for a holder.
    ///
    /// # Errors
    /// `Infrastructure` when they cannot be stored.
    async fn keep(&self, holder: &str, bytes: Box<dyn Pieces>) -> Result<BlobInfo, Failure>;

    /// Keeps a blob of the store for a holder, with the documents that it leads to if it is a manifest or an index;
    /// not with the layers.
    ///
    /// # Errors
    /// `NotFound` when there is no such blob.
    async fn hold(&self, holder: &str, blob: &Descriptor) -> Result<(), Failure>;

    /// The holders whose names begin so, in order.
    ///
    /// # Errors
    /// `Infrastructure` when the store cannot be asked.
    async fn holders(&self, prefix: &str) -> Result<Vec<String>, Failure>;

    /// Forgets a holder. What nobody else needs goes with the next collection.
    ///
    /// # Errors
    /// `Infrastructure` when it cannot be written down.
    async fn let_go(&self, holder: &str) -> Result<(), Failure>;
}

/// Bytes that come in pieces.
#[async_trait]
pub trait Pieces: Send {
    /// The next piece, `None` after the last.
    ///
    /// # Errors
    /// When the rest cannot be had.
    async fn piece(&mut self) -> Result<Option<Bytes>, Failure>;
}

/// All in one piece.
#[async_trait]
impl Pieces for Option<Bytes> {
    async fn piece(&mut self) -> Result<Option<Bytes>, Failure> {
        Ok(self.take())
    }
}

/// A blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// When it was stored, in nanoseconds since 1970.
    pub stored_ns: u64,
}
