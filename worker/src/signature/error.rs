use cooper_core::model::{Failure, FailureKind};

/// Why something does not count as signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignatureError {
    /// The keys cannot be read.
    #[error("failed to read armored public key: {0}")]
    Keys(String),
    /// The ssh key cannot be read.
    #[error("failed to parse ssh public key: {0}")]
    SshKey(String),
    /// The signature cannot be read.
    #[error("cannot read the signature: {0}")]
    Unreadable(String),
    /// It is of a kind that is not taken.
    #[error("rejecting {0}")]
    Rejected(String),
    /// None of the keys made it.
    #[error("signature by {0}: made by an unknown key")]
    UnknownKey(String),
    /// The key may not sign, or not any more.
    #[error("key {key}: {reason}")]
    Key {
        /// Its fingerprint.
        key: String,
        /// What is the matter with it.
        reason: String,
    },
    /// The bytes are not those that were signed.
    #[error("the signature does not fit what was signed")]
    Mismatch,
    /// What was signed could not be read.
    #[error("reading what was signed: {0}")]
    Read(#[from] std::io::Error),
}

impl From<SignatureError> for Failure {
    fn from(error: SignatureError) -> Self {
        let kind = match error {
            SignatureError::Read(_) => FailureKind::Infrastructure,
            SignatureError::Keys(_) | SignatureError::SshKey(_) => FailureKind::InvalidInput,
            _ => FailureKind::Denied,
        };
        Self::new(kind, error.to_string())
    }
}
