use crate::model::{Failure, FailureKind};

/// Why an op has no cache key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A mount asks for a content key though what it hides could come out again.
    #[error(
        "mount at {dest} cannot be cached by its content: it is writable, gives an output and shows a part only"
    )]
    UnsafeContentCache {
        /// Where the mount is.
        dest: String,
    },
    /// The key of a source is told by a worker.
    #[error("the key of a source is told by a worker")]
    Source,
    /// The op is of no kind that we know.
    #[error("the op is of no known kind")]
    NoOp,
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        let kind = match &error {
            KeyError::UnsafeContentCache { .. } => FailureKind::InvalidInput,
            KeyError::Source | KeyError::NoOp => FailureKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}
