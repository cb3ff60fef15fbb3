use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::metadata::Owner;

/// Why an operation inside a [`Root`](super::Root) did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The kernel refused; `source` says why.
    #[error("cannot {action} {path:?}: {source}")]
    System {
        /// What was tried, as a verb.
        action: &'static str,
        /// The path as it was given.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// The owner is none that this process can name.
    #[error(
        "cannot change the owner of {path:?} to {}:{}: this user namespace has no such id; a range in /etc/subuid and \
         /etc/subgid gives the user more", owner.uid, owner.gid
    )]
    NoSuchOwner {
        /// The path as it was given.
        path: PathBuf,
        /// Who was to own it.
        owner: Owner,
    },
    /// We refused before (or after) asking the kernel.
    #[error("refused to {action} {path:?}: {reason}")]
    Refused {
        /// What was tried, as a verb.
        action: &'static str,
        /// The path as it was given.
        path: PathBuf,
        /// The rule that it broke.
        reason: Refusal,
    },
}

/// The rules that a path or the object behind it can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A NUL byte cannot be part of a path.
    #[error("the path contains a NUL byte")]
    Nul,
    /// The operation needs a name to create or remove, and the path ends in `..` or is the root itself.
    #[error("the path names no entry inside its root")]
    NoName,
    /// Removal takes no `..`: what it would remove depends on links.
    #[error("`..` is not allowed here")]
    ParentComponent,
    /// Only a regular file may be read.
    #[error("it is not a regular file")]
    NotRegular,
    /// The file is larger than its reader accepts.
    #[error("it is larger than {cap} bytes")]
    TooLarge {
        /// The cap, in bytes.
        cap: u64,
    },
    /// Resolving took more links than a kernel would follow.
    #[error("too many symbolic links")]
    TooManyLinks,
    /// A component that must be a directory is something else.
    #[error("a component of the path is not a directory")]
    NotADirectory,
}

impl ConfineError {
    pub(super) fn system(action: &'static str, path: &Path, errno: Errno) -> Self {
        Self::System {
            action,
            path: path.to_owned(),
            source: errno.into(),
        }
    }

    pub(super) fn refused(action: &'static str, path: &Path, reason: Refusal) -> Self {
        Self::Refused {
            action,
            path: path.to_owned(),
            reason,
        }
    }

    /// True where the path, or a directory on its way, does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.io_kind() == Some(std::io::ErrorKind::NotFound)
    }

    /// True where something was in the way of what had to be created.
    #[must_use]
    pub fn is_already_exists(&self) -> bool {
        self.io_kind() == Some(std::io::ErrorKind::AlreadyExists)
    }

    /// The kernel's answer, where there was one.
    #[must_use]
    pub fn io_kind(&self) -> Option<std::io::ErrorKind> {
        match self {
            Self::System { source, .. } => Some(source.kind()),
            Self::NoSuchOwner { .. } => Some(std::io::ErrorKind::InvalidInput),
            Self::Refused { .. } => None,
        }
    }

    /// The kernel's error number, where there was one.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::System { source, .. } => source.raw_os_error(),
            Self::NoSuchOwner { .. } => Some(Errno::INVAL.raw_os_error()),
            Self::Refused { .. } => None,
        }
    }
}

impl From<ConfineError> for std::io::Error {
    fn from(error: ConfineError) -> Self {
        let kind = error.io_kind().unwrap_or(std::io::ErrorKind::InvalidInput);
        Self::new(kind, error)
    }
}
