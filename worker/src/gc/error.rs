use cooper_core::model::{Failure, FailureKind};

use crate::confine::ConfineError;
use crate::content::ContentError;
use crate::meta::MetaError;
use crate::snapshot::SnapshotError;

/// Why what is kept could not be listed or let go.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// The metadata store.
    #[error("metadata store: {0}")]
    Meta(#[from] MetaError),
    /// The content store.
    #[error("content store: {0}")]
    Content(#[from] ContentError),
    /// The file-system states.
    #[error("file-system states: {0}")]
    Snapshots(#[from] SnapshotError),
    /// A directory.
    #[error(transparent)]
    Files(#[from] ConfineError),
    /// The disk would not say how full it is.
    #[error("looking at the disk: {0}")]
    Disk(std::io::Error),
    /// An image with a name.
    #[error("{0}")]
    Images(Failure),
}

impl From<GcError> for Failure {
    fn from(error: GcError) -> Self {
        Self::new(
            FailureKind::Infrastructure,
            format!("collecting garbage: {error}"),
        )
    }
}
