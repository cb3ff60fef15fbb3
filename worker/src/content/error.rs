use std::{io, path::PathBuf};

use cooper_proto::Digest;

/// Why bytes could not be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The store has no such blob.
    #[error("no blob {0} in the content store")]
    Missing(Digest),
    /// What arrived is not what was announced.
    #[error("expected a blob {expected}, received {received}; nothing was kept")]
    Digest {
        /// The digest that was announced.
        expected: Digest,
        /// The digest of what arrived.
        received: Digest,
    },
    /// What arrived is longer or shorter than announced.
    #[error("expected a blob of {expected} bytes, received {received}; nothing was kept")]
    Size {
        /// The announced size in bytes.
        expected: u64,
        /// How many bytes arrived; for a blob that is too long, where we stopped.
        received: u64,
    },
    /// The blob is larger than the cap for what it is.
    #[error("a blob exceeds the cap of {cap} bytes; nothing was kept")]
    TooLarge {
        /// The cap in bytes.
        cap: u64,
    },
    /// The bytes on disk no longer match the blob's name. It was moved to `quarantine/`.
    #[error(
        "blob {expected} was damaged on disk (its bytes are {found}) and is now in quarantine; build again to fetch or make it anew"
    )]
    Damaged {
        /// The blob's name.
        expected: Digest,
        /// The digest of its bytes.
        found: Digest,
    },
    /// The file system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes could not be read from where they come from.
    #[error("reading what should become a blob: {0}")]
    Source(io::Error),
}

impl ContentError {
    pub(super) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

impl From<ContentError> for io::Error {
    fn from(error: ContentError) -> Self {
        match error {
            ContentError::Io { source, .. } => source,
            other => Self::other(other),
        }
    }
}
