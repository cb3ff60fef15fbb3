use cooper_core::model::{Failure, FailureKind};
use cooper_core::patterns::PatternError;

use crate::confine::ConfineError;

/// Why a directory could not be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// An include or exclude pattern cannot be used.
    #[error("invalid {list}: {source}")]
    Pattern {
        /// Which list it is in, such as `includepatterns`.
        list: &'static str,
        /// What is wrong with it.
        source: PatternError,
    },
    /// Reading or writing on our side failed.
    #[error(transparent)]
    Files(#[from] ConfineError),
    /// Copying a file's content failed.
    #[error("cannot copy {path:?}: {source}")]
    Content {
        /// The file, relative to its tree.
        path: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The peer broke the protocol; nothing of the offending entry was written.
    #[error("refused what the peer sent: {0}")]
    Protocol(String),
    /// The peer gave up and said why.
    #[error("error from the other side: {0}")]
    Peer(String),
    /// The stream to the peer failed.
    #[error(transparent)]
    Stream(#[from] Failure),
    /// The transfer was stopped on our side.
    #[error("cancelled")]
    Cancelled,
    /// The peer went away in the middle.
    #[error("the other side closed the transfer before its end")]
    Ended,
}

impl From<SyncError> for Failure {
    fn from(error: SyncError) -> Self {
        let kind = match &error {
            SyncError::Stream(failure) => return failure.clone(),
            SyncError::Pattern { .. } | SyncError::Protocol(_) => FailureKind::InvalidInput,
            SyncError::Cancelled => FailureKind::Cancelled,
            SyncError::Files(files) if files.is_not_found() => FailureKind::NotFound,
            SyncError::Files(_)
            | SyncError::Content { .. }
            | SyncError::Peer(_)
            | SyncError::Ended => FailureKind::Infrastructure,
        };
        Self::new(kind, error.to_string())
    }
}
