use async_trait::async_trait;
use bytes::Bytes;
use cooper_proto::Digest;

use crate::model::Failure;

/// A store of blobs that a client offers: a directory for a cache (`local:…`), an OCI layout (`oci:…`), the place of an
/// export (`export`). See the parity sheet, D.
///
/// What is read is what the client says; who reads compares digests.
#[async_trait]
pub trait ClientContent: Send + Sync {
    /// The size of a blob, `None` when it is not there.
    async fn size(&self, digest: &Digest) -> Result<Option<u64>, Failure>;

    /// Reads a blob from its start.
    ///
    /// # Errors
    /// `NotFound` when it is not there.
    async fn read(&self, digest: &Digest) -> Result<Box<dyn ContentReader>, Failure>;

    /// Begins to write a blob, `None` when it is there already.
    async fn write(
        &self,
        digest: &Digest,
        size: u64,
    ) -> Result<Option<Box<dyn ContentWriter>>, Failure>;
}

/// A blob on its way from a client.
#[async_trait]
pub trait ContentReader: Send {
    /// The next part, `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Failure>;
}

/// A blob on its way to a client. Dropped before [`ContentWriter::commit`], it leaves nothing that counts.
#[async_trait]
pub trait ContentWriter: Send {
    /// Sends a part.
    async fn write(&mut self, part: Bytes) -> Result<(), Failure>;

    /// Ends the blob and waits until the client has it whole.
    ///
    /// # Errors
    /// `Infrastructure` when what arrived is not what the digest says.
    async fn commit(self: Box<Self>) -> Result<(), Failure>;
}
