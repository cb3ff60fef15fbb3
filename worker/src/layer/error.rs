use std::{io, path::PathBuf};

use cooper_proto::Digest;

use super::archive::ArchiveError;
use crate::{
    confine::ConfineError, content::ContentError, meta::MetaError, snapshot::SnapshotError,
};

/// Why a layer could not be made, unpacked or found.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The archive is not one that we accept.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// An entry of the archive cannot be made.
    #[error("unpacking {path:?}: {source}")]
    Entry {
        /// The entry's path.
        path: PathBuf,
        /// Why.
        source: Box<LayerError>,
    },
    /// The archive unpacks to other bytes than the image says.
    #[error("the layer's content is {found} and its image says {expected}; nothing was kept")]
    DiffId {
        /// What the image says.
        expected: Digest,
        /// The digest of the unpacked archive.
        found: Digest,
    },
    /// Packed again, a directory is another layer than it was the first time.
    #[error(
        "the files of layer {0} are not what they were when it was packed first; build again to make them anew"
    )]
    Altered(crate::meta::LayerId),
    /// A cap was reached.
    #[error("the layer exceeds the cap on {what} of {cap}")]
    TooLarge {
        /// What is capped, with its unit.
        what: &'static str,
        /// The cap.
        cap: u64,
    },
    /// Overlayfs left something in a layer that only means something on that machine.
    #[error("{path:?} was renamed by reference (redirect_dir), which a layer cannot hold")]
    Redirect {
        /// The directory.
        path: PathBuf,
    },
    /// A file changed while it was read.
    #[error("{path:?} changed while its layer was made")]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The layer's bytes are nowhere: neither unpacked, nor in the content store, nor in a
    /// registry that we know of.
    #[error("the bytes of layer {0} are gone; build again to make them anew")]
    Gone(crate::meta::LayerId),
    /// The layer could not be fetched.
    #[error("fetching a layer: {0}")]
    Fetch(Box<dyn std::error::Error + Send + Sync>),
    /// A path inside could not be worked on.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// The content store failed.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The metadata store failed.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// The states failed.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Bytes could not be read, decompressed or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl LayerError {
    /// Whether a blob was damaged where it was kept, and is in quarantine now.
    pub(super) const fn is_damage(&self) -> bool {
        matches!(self, Self::Content(ContentError::Damaged { .. }))
    }

    pub(super) fn at(self, path: impl Into<PathBuf>) -> Self {
        match self {
            named @ (Self::Entry { .. } | Self::Archive(_) | Self::TooLarge { .. }) => named,
            other => Self::Entry {
                path: path.into(),
                source: Box::new(other),
            },
        }
    }
}

impl From<rustix::io::Errno> for LayerError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno.into())
    }
}

impl From<LayerError> for io::Error {
    fn from(error: LayerError) -> Self {
        match error {
            LayerError::Io(error) => error,
            other => Self::other(other),
        }
    }
}
