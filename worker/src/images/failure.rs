use cooper_core::model::{Failure, FailureKind};
use cooper_proto::Digest;

use crate::{
    content::{ContentError, ContentStore},
    meta::MetaError,
};

/// An error of the content store in the words of a build.
pub(crate) fn content_failure(error: &ContentError) -> Failure {
    let kind = match error {
        ContentError::Missing(_) => FailureKind::NotFound,
        _ => FailureKind::Infrastructure,
    };
    Failure::new(kind, error.to_string())
}

/// Why others did not take a blob: because it is damaged here, if it is. Then it is in quarantine, and the next build
/// makes or fetches it anew.
pub(crate) async fn blame(content: &ContentStore, blob: &Digest, refused: Failure) -> Failure {
    let (content, blob) = (content.clone(), blob.clone());
    let verified = tokio::task::spawn_blocking(move || content.verify(&blob)).await;
    match verified {
        Ok(Err(damaged @ ContentError::Damaged { .. })) => content_failure(&damaged),
        Ok(_) | Err(_) => refused,
    }
}

/// An error of the metadata store in the words of a build.
pub(crate) fn meta_failure(error: &MetaError) -> Failure {
    Failure::new(FailureKind::Infrastructure, error.to_string())
}
