use cooper_core::model::{Failure, FailureKind};

use crate::confine::ConfineError;
use crate::layer::LayerError;
use crate::meta::MetaError;
use crate::snapshot::SnapshotError;

/// Why states could not be merged or compared.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The op names an input that is not there.
    #[error("there is no {side} {index}")]
    NoInput {
        /// Which of the op's inputs.
        side: &'static str,
        /// The index that it gives.
        index: i64,
    },
    /// A state could not be read, made or kept.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// Somebody asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl From<ConfineError> for ChainError {
    fn from(error: ConfineError) -> Self {
        Self::Layer(error.into())
    }
}

impl From<SnapshotError> for ChainError {
    fn from(error: SnapshotError) -> Self {
        Self::Layer(error.into())
    }
}

impl From<MetaError> for ChainError {
    fn from(error: MetaError) -> Self {
        Self::Layer(error.into())
    }
}

impl From<ChainError> for Failure {
    fn from(error: ChainError) -> Self {
        let kind = match &error {
            ChainError::NoInput { .. } => FailureKind::InvalidInput,
            ChainError::Layer(_) => FailureKind::Infrastructure,
            ChainError::Cancelled => FailureKind::Cancelled,
        };
        Self::new(kind, error.to_string())
    }
}
