use cooper_core::model::{Failure, FailureKind};

use crate::{content::ContentError, meta::MetaError};

/// An error of the content store in the words of a build.
pub(crate) fn content_failure(error: &ContentError) -> Failure {
    let kind = match error {
        ContentError::Missing(_) => FailureKind::NotFound,
        _ => FailureKind::Infrastructure,
    };
    Failure::new(kind, error.to_string())
}

/// An error of the metadata store in the words of a build.
pub(crate) fn meta_failure(error: &MetaError) -> Failure {
    Failure::new(FailureKind::Infrastructure, error.to_string())
}
