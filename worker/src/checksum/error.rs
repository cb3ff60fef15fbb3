use cooper_core::model::{Failure, FailureKind};
use cooper_core::patterns::PatternError;

use crate::confine::ConfineError;
use crate::meta::MetaError;
use crate::snapshot::SnapshotError;

/// Why contents could not be digested.
#[derive(Debug, thiserror::Error)]
pub enum ChecksumError {
    /// A path that was asked for does not exist.
    #[error("failed to compute cache key: {path:?}: not found")]
    NotFound {
        /// The path inside the state.
        path: String,
    },
    /// Links lead to links without end.
    #[error("{path:?}: too many links")]
    TooManyLinks {
        /// The path inside the state.
        path: String,
    },
    /// A pattern cannot be used.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// Something could not be read.
    #[error(transparent)]
    Files(#[from] ConfineError),
    /// A file could not be read to its end.
    #[error("cannot read {path:?}: {source}")]
    Read {
        /// The path inside the state.
        path: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The state could not be opened.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// What was kept could not be read or written.
    #[error(transparent)]
    Meta(#[from] MetaError),
}

impl From<ChecksumError> for Failure {
    fn from(error: ChecksumError) -> Self {
        let kind = match &error {
            ChecksumError::NotFound { .. } => FailureKind::NotFound,
            ChecksumError::TooManyLinks { .. } | ChecksumError::Pattern(_) => {
                FailureKind::InvalidInput
            }
            _ => FailureKind::Infrastructure,
        };
        Self::new(kind, error.to_string())
    }
}
