use std::sync::Arc;

use cooper_core::model::{FailedOp, FailedPart, Failure, FailureKind, ResultId};

use super::error::FileOpError;
use crate::snapshot::Snapshots;

/// A file op that stopped at an action, and the states that it had made by then.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct FileOpFailure {
    /// What went wrong.
    pub error: FileOpError,
    /// The action that failed; `None` where none was begun.
    pub action: Option<usize>,
    /// For each action the state that it left, pinned once; `None` where another has gone on from it or it was not begun.
    pub states: Vec<Option<ResultId>>,
}

impl From<FileOpError> for FileOpFailure {
    fn from(error: FileOpError) -> Self {
        Self {
            error,
            action: None,
            states: Vec::new(),
        }
    }
}

impl FileOpFailure {
    /// The failure as the engine is told of it. States that nobody will look into are let go.
    #[must_use]
    pub fn told(self, inputs: &[ResultId], snapshots: &Snapshots) -> Failure {
        let mut failure = Failure::from(self.error);
        // What may be tried again, or was given up, is not looked into.
        let is_over = matches!(
            failure.kind,
            FailureKind::Cancelled | FailureKind::Infrastructure
        );
        match self.action {
            Some(action) if !is_over => {
                failure.op = Some(Arc::new(FailedOp {
                    inputs: inputs.iter().cloned().map(Some).collect(),
                    mounts: self.states,
                    part: Some(FailedPart::Action(action)),
                    ..FailedOp::default()
                }));
            }
            _ => {
                let pins = snapshots.meta().pins();
                self.states.iter().flatten().for_each(|it| pins.unpin(it));
            }
        }
        failure
    }
}
