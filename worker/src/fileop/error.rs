use std::path::Path;

use cooper_core::model::{Failure, FailureKind};
use cooper_core::patterns::PatternError;

use crate::confine::ConfineError;
use crate::snapshot::SnapshotError;

/// Why a file op did not work. The words of what users do wrong are BuildKit's, which clients look for.
#[derive(Debug, thiserror::Error)]
pub enum FileOpError {
    /// The op itself makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The system refused something that the op asked for.
    #[error("{call} {path}: {reason}")]
    Refused {
        /// The call as BuildKit names it, such as `lstat`.
        call: &'static str,
        /// The path inside the state.
        path: String,
        /// The system's words.
        reason: String,
        /// Whether the reason is that something does not exist.
        is_missing: bool,
    },
    /// A wildcard, or a path that had to be there, names nothing.
    #[error("{0} not found")]
    NotFound(String),
    /// A pattern cannot be used.
    #[error("invalid {list}: {source}")]
    Pattern {
        /// Which list it is in.
        list: &'static str,
        /// What is wrong with it.
        source: PatternError,
    },
    /// An archive cannot be unpacked.
    #[error("failed to unpack {path}: {reason}")]
    Archive {
        /// The archive inside its state.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// Reading or writing failed on our side.
    #[error(transparent)]
    Files(ConfineError),
    /// Copying content failed.
    #[error("failed to copy files: {path}: {source}")]
    Content {
        /// The file inside its state.
        path: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A state could not be opened or kept.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The op was stopped.
    #[error("cancelled")]
    Cancelled,
}

impl FileOpError {
    /// What went wrong at `path`, in the words of the peer where the user can do something about it.
    pub(super) fn at(call: &'static str, path: &Path) -> impl FnOnce(ConfineError) -> Self {
        let path = Path::new("/").join(path);
        move |error| match error {
            ConfineError::System { source, .. } if is_the_users(&source) => Self::Refused {
                call,
                path: path.to_string_lossy().into_owned(),
                is_missing: source.kind() == std::io::ErrorKind::NotFound,
                reason: words(&source),
            },
            other => Self::Files(other),
        }
    }

    /// Whether the user's op is at fault and not this machine.
    #[must_use]
    pub fn is_the_ops_fault(&self) -> bool {
        !matches!(
            self,
            Self::Files(ConfineError::System { .. }) | Self::Content { .. } | Self::Snapshot(_)
        )
    }
}

impl From<ConfineError> for FileOpError {
    fn from(error: ConfineError) -> Self {
        Self::Files(error)
    }
}

impl From<FileOpError> for Failure {
    fn from(error: FileOpError) -> Self {
        let kind = match &error {
            FileOpError::Refused {
                is_missing: true, ..
            }
            | FileOpError::NotFound(_) => FailureKind::NotFound,
            FileOpError::Cancelled => FailureKind::Cancelled,
            error if error.is_the_ops_fault() => FailureKind::InvalidInput,
            _ => FailureKind::Infrastructure,
        };
        Self::new(kind, error.to_string())
    }
}

fn is_the_users(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{
        AlreadyExists, InvalidFilename, IsADirectory, NotADirectory, NotFound,
    };
    matches!(
        error.kind(),
        NotFound | NotADirectory | AlreadyExists | IsADirectory | InvalidFilename
    )
}

/// The system's words as Go prints them: in lower case, without the number.
fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(characters).collect()
    })
}
