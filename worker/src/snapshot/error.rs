use std::{io, path::PathBuf};

use cooper_core::model::ResultId;

use crate::{
    confine::ConfineError,
    meta::{LayerId, MetaError},
    mount::MountError,
};

/// Why a state could not be seen, changed or kept.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The metadata store failed, or does not know the result.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// A layer of an image was not fetched yet.
    #[error("layer {layer} of result {result} was not fetched and unpacked yet")]
    NotUnpacked {
        /// The result that was asked for.
        result: ResultId,
        /// The first layer that is missing.
        layer: LayerId,
    },
    /// The chain is longer than one mount can be.
    #[error("a state of {layers} layers cannot be mounted; the most is {cap}")]
    TooManyLayers {
        /// How many layers the chain has.
        layers: usize,
        /// How many are possible.
        cap: usize,
    },
    /// The layers were made with other rights than we have.
    #[error(
        "the state folder was used as root of the machine and now is not, or the other way round; choose another folder"
    )]
    OthersMarks,
    /// The kernel refused to mount.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// A path inside could not be worked on.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// The file system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SnapshotError {
    pub(super) fn io<E: Into<io::Error>>(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source: source.into(),
        }
    }
}
