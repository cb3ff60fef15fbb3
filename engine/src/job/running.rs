use cooper_core::model::JobId;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::SolveOutcome;
use crate::driver::Task;
use crate::progress::{BuildSummary, StatusStream};

/// A build under way. Dropping it cancels the build; the engine still waits for its cleanup before it ends.
#[derive(Debug)]
#[must_use = "dropping it cancels the build"]
pub struct Running {
    pub(super) id: JobId,
    pub(super) task: Task<SolveOutcome>,
    pub(super) cancel: CancellationToken,
    pub(super) _guard: DropGuard,
    pub(super) log: std::sync::Arc<crate::progress::JobLog>,
}

impl Running {
    /// The build's name.
    #[must_use]
    pub fn id(&self) -> &JobId {
        &self.id
    }

    /// The build's progress from its start to its end.
    #[must_use]
    pub fn progress(&self) -> StatusStream {
        self.log.follow()
    }

    /// Asks the build to stop. [`Running::outcome`] then answers when all of it is cleaned up.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Does what [`Running::cancel`] does when it is cancelled, for who waits for the outcome at the same time.
    #[must_use]
    pub fn canceller(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// Waits for the end.
    ///
    /// # Cancel
    /// Dropping the future cancels the build.
    pub async fn outcome(self) -> SolveOutcome {
        self.task.await.unwrap_or_else(|failure| SolveOutcome {
            result: Err(failure),
            summary: BuildSummary::default(),
        })
    }
}
