use tokio::io::{AsyncRead, AsyncReadExt};

use super::{ContentError, ContentStore, Expected, Ingest, VerifiedBlob};

const CHUNK_BYTES: usize = 1 << 20;

impl ContentStore {
    /// Keeps all that `reader` gives, and calls `progress` with the bytes so far.
    ///
    /// # Errors
    /// [`ContentError::Source`] when reading fails; else as [`Ingest::append`] and
    /// [`Ingest::commit`].
    ///
    /// # Cancel
    /// Dropped, it leaves nothing.
    pub async fn ingest_from(
        &self,
        mut reader: impl AsyncRead + Unpin + Send,
        expected: Expected,
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<VerifiedBlob, ContentError> {
        let store = self.clone();
        let mut ingest = blocking(move || store.ingest(expected)).await?;
        let mut buffer = Vec::with_capacity(CHUNK_BYTES);
        loop {
            buffer.clear();
            let end = fill(&mut reader, &mut buffer).await?;
            (ingest, buffer) = append(ingest, buffer).await?;
            progress(ingest.written());
            if end {
                return blocking(move || ingest.commit()).await;
            }
        }
    }
}

/// Reads until the chunk is full; `true` at the end of the stream.
async fn fill(
    reader: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> Result<bool, ContentError> {
    while buffer.len() < CHUNK_BYTES {
        let room = (CHUNK_BYTES - buffer.len()) as u64;
        let read = reader
            .take(room)
            .read_buf(buffer)
            .await
            .map_err(ContentError::Source)?;
        if read == 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn append(mut ingest: Ingest, buffer: Vec<u8>) -> Result<(Ingest, Vec<u8>), ContentError> {
    blocking(move || {
        ingest.append(&buffer)?;
        Ok((ingest, buffer))
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ContentError> + Send + 'static,
) -> Result<T, ContentError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(ContentError::Source(std::io::Error::other(error))))
}

#[cfg(test)]
mod tests {
    use cooper_proto::Digest;

    use super::*;
    use crate::limits::Limits;

    #[tokio::test]
    async fn a_stream_becomes_a_blob_and_says_how_far_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let store = ContentStore::open(dir.path(), &Limits::default()).unwrap();
        let bytes = vec![7; CHUNK_BYTES * 2 + 3];
        let mut seen = Vec::new();
        let blob = store
            .ingest_from(&bytes[..], Expected::default(), |at| seen.push(at))
            .await
            .unwrap();
        assert_eq!(*blob.digest(), Digest::sha256_of(&bytes));
        assert_eq!(seen.last(), Some(&(bytes.len() as u64)));
        assert!(seen.len() >= 3, "{seen:?}");
    }

    // T-A20
    #[tokio::test]
    async fn a_stream_that_is_not_what_was_announced_leaves_the_store_empty() {
        let dir = tempfile::tempdir().unwrap();
        let store = ContentStore::open(dir.path(), &Limits::default()).unwrap();
        let expected = Expected::described(Digest::sha256_of("a"), 1);
        for bytes in ["", "b", "aa"] {
            let result = store
                .ingest_from(bytes.as_bytes(), expected.clone(), |_| ())
                .await;
            assert!(result.is_err(), "{bytes:?}");
        }
        assert_eq!(store.list().unwrap(), []);
    }
}
