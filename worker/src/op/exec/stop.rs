use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::OpOutcome;

use crate::cdi::DeviceError;
use crate::cgroup::CgroupError;
use crate::confine::ConfineError;
use crate::exec::{RunError, UserError};
use crate::mount::MountError;
use crate::snapshot::SnapshotError;

/// Why an op ends before it has results.
#[derive(Debug)]
pub(super) enum Stop {
    /// What was asked for cannot be, or its program failed.
    Failed(Failure),
    /// The machine did not do its part.
    Fault(Failure),
    /// Somebody wanted it to end.
    Cancelled,
}

impl Stop {
    pub(super) fn failed(kind: FailureKind, message: impl Into<String>) -> Self {
        Self::Failed(Failure::new(kind, message))
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::failed(FailureKind::InvalidInput, message)
    }

    pub(super) fn unsupported(feature: impl Into<String>) -> Self {
        Self::Failed(Failure::unsupported(feature))
    }

    pub(super) fn fault(error: impl std::fmt::Display) -> Self {
        Self::Fault(Failure::new(FailureKind::Infrastructure, error.to_string()))
    }
}

impl From<Stop> for OpOutcome {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Failed(failure) => Self::Failed(failure),
            Stop::Fault(failure) => Self::Fault(failure),
            Stop::Cancelled => Self::Cancelled,
        }
    }
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Failed(failure) | Stop::Fault(failure) => failure,
            Stop::Cancelled => Self::new(FailureKind::Cancelled, "cancelled"),
        }
    }
}

impl From<SnapshotError> for Stop {
    fn from(error: SnapshotError) -> Self {
        Self::fault(error)
    }
}

impl From<MountError> for Stop {
    fn from(error: MountError) -> Self {
        Self::fault(error)
    }
}

/// The kernel's word on a path that an image or an op chose; what it says of its own lack is the machine's.
impl From<ConfineError> for Stop {
    fn from(error: ConfineError) -> Self {
        use std::io::ErrorKind::{NotADirectory, NotFound};
        if let ConfineError::NoSuchOwner { .. } = error {
            return Self::invalid(error.to_string());
        }
        match error.io_kind() {
            Some(NotFound) => Self::failed(FailureKind::NotFound, error.to_string()),
            Some(NotADirectory) | None => Self::invalid(error.to_string()),
            Some(_) => Self::fault(error),
        }
    }
}

impl From<UserError> for Stop {
    fn from(error: UserError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<CgroupError> for Stop {
    fn from(error: CgroupError) -> Self {
        match error {
            CgroupError::Parent(_) => Self::invalid(error.to_string()),
            // What the kernel says of a value that it cannot use.
            CgroupError::Limit { ref source, .. }
                if matches!(source.raw_os_error(), Some(libc::EINVAL | libc::ERANGE)) =>
            {
                Self::invalid(error.to_string())
            }
            CgroupError::NoController { .. } | CgroupError::NotOurs => {
                Self::failed(FailureKind::Unsupported, error.to_string())
            }
            CgroupError::Limit { .. } | CgroupError::Group(_) | CgroupError::Machine(_) => {
                Self::fault(error)
            }
        }
    }
}

impl From<DeviceError> for Stop {
    fn from(error: DeviceError) -> Self {
        match error {
            DeviceError::Unknown(failure) => Self::Failed(failure),
            DeviceError::Unbuilt { .. } => {
                Self::failed(FailureKind::Unsupported, error.to_string())
            }
            DeviceError::Edit { .. } => Self::fault(error),
        }
    }
}

impl From<RunError> for Stop {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Request { .. } => Self::invalid(error.to_string()),
            RunError::Denied(_) => Self::failed(FailureKind::Denied, error.to_string()),
            RunError::Machine { .. } | RunError::Helper(_) => Self::fault(error),
        }
    }
}
