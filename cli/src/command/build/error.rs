use cooper_core::model::{Failure, FailureKind};

/// Something on the command line cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UsageError {
    message: String,
    hint: Option<String>,
    unsupported: bool,
}

impl UsageError {
    /// With advice.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: Some(hint.into()),
            unsupported: false,
        }
    }

    /// Where no advice helps.
    pub fn plain(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            unsupported: false,
        }
    }

    /// A feature that is not built.
    pub fn unsupported(feature: impl Into<String>) -> Self {
        Self {
            message: format!("{} is not supported yet", feature.into()),
            hint: None,
            unsupported: true,
        }
    }
}

impl From<UsageError> for Failure {
    fn from(error: UsageError) -> Self {
        let kind = if error.unsupported {
            FailureKind::Unsupported
        } else {
            FailureKind::InvalidInput
        };
        let mut failure = Self::new(kind, error.message);
        failure.hint = error.hint;
        failure
    }
}
