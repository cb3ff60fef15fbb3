use std::fmt::Write as _;

use super::node::NodeId;
use crate::model::{Failure, FailureKind};

/// The scheduler found itself in a state that cannot be.
#[derive(Debug, Clone)]
pub(super) struct Bug {
    /// Where, if that is known.
    pub(super) node: Option<NodeId>,
    what: String,
}

/// What every step of the machine gives.
pub(super) type Step<T = ()> = Result<T, Bug>;

impl Bug {
    pub(super) fn at(node: NodeId, what: impl Into<String>) -> Self {
        Self {
            node: Some(node),
            what: what.into(),
        }
    }

    pub(super) fn new(what: impl Into<String>) -> Self {
        Self {
            node: None,
            what: what.into(),
        }
    }

    /// What the builds that it hits are told.
    pub(super) fn failure(&self, trace: impl Iterator<Item = String>) -> Failure {
        let mut message = format!("internal fault of the scheduler: {}", self.what);
        for line in trace {
            // Writing to a String cannot fail.
            let _ = write!(message, "\n  {line}");
        }
        Failure::new(FailureKind::Internal, message)
            .with_hint("please report this; other builds are not affected")
    }
}
