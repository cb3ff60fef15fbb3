use cooper_core::model::ResultId;

use super::LayerId;

/// Why metadata could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    /// The database failed: the disk is full or broken, or the file is not ours.
    #[error("the metadata store failed: {0}")]
    Store(#[from] Box<redb::Error>),
    /// A record was written by a newer version, or is damaged.
    #[error("a {kind} record cannot be read: {reason}")]
    Record {
        /// Which kind of record.
        kind: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such result.
    #[error("no result {0}")]
    NoResult(ResultId),
    /// There is no such layer.
    #[error("no layer {0}")]
    NoLayer(LayerId),
    /// The writer thread has ended, because the store was closed.
    #[error("the metadata store is closed")]
    Closed,
}

impl MetaError {
    /// Whether the disk did not do its part. The database answers nothing more until it is opened again, and then the
    /// same may work.
    pub(super) fn is_of_the_disk(&self) -> bool {
        let Self::Store(error) = self else {
            return false;
        };
        matches!(
            **error,
            redb::Error::Io(_)
                | redb::Error::PreviousIo
                | redb::Error::LockPoisoned(_)
                | redb::Error::Corrupted(_)
        )
    }
}

macro_rules! from_redb {
    ($($error:ident),+) => {$(
        impl From<redb::$error> for MetaError {
            fn from(error: redb::$error) -> Self {
                Self::Store(Box::new(error.into()))
            }
        }
    )+};
}

from_redb!(
    CommitError,
    DatabaseError,
    StorageError,
    TableError,
    TransactionError
);
