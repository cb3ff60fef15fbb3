use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use cooper_core::model::{Failure, FailureKind};
use futures::FutureExt;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// The engine's tasks. The one place that spawns: every task here is joined by who holds its [`Task`], and all of
/// them by [`Tasks::join_all`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    running: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

/// One task among those of its kind, until it is dropped.
struct Counted {
    what: &'static str,
    running: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut running = self.running.lock();
        if let Some(count) = running.get_mut(self.what) {
            *count -= 1;
        }
        running.retain(|_, count| *count > 0);
    }
}

/// A running task. Dropping it lets the task run to its end; [`Tasks::join_all`] still waits for it.
#[derive(Debug)]
#[must_use = "a task that nobody joins fails unseen"]
pub(crate) struct Task<T>(JoinHandle<Result<T, Failure>>);

impl Tasks {
    /// Starts a task. A panic in it becomes an `Internal` failure that names `what`.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        what: &'static str,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        *self.running.lock().entry(what).or_default() += 1;
        let counted = Counted {
            what,
            running: Arc::clone(&self.running),
        };
        Task(self.tracker.spawn(async move {
            let _counted = counted;
            contain(what, future).await
        }))
    }

    /// How many run, by what they are.
    pub(crate) fn count(&self) -> BTreeMap<&'static str, usize> {
        self.running.lock().clone()
    }

    /// Waits until every task has ended. None may be started afterwards by who wants the answer to stay true.
    pub(crate) async fn join_all(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

impl<T> Task<T> {
    /// Whether it has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_finished()
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, Failure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|joined| {
            joined.unwrap_or_else(|error| {
                Err(Failure::new(
                    FailureKind::Internal,
                    format!("a task ended before its work: {error}"),
                ))
            })
        })
    }
}

/// Runs a future and turns a panic in it into a failure.
pub(crate) async fn contain<T>(
    what: &'static str,
    future: impl Future<Output = T>,
) -> Result<T, Failure> {
    AssertUnwindSafe(future)
        .catch_unwind()
        .await
        .map_err(|panic| panicked(what, panic.as_ref()))
}

/// The failure that a panic is.
pub(crate) fn panicked(what: &str, panic: &(dyn Any + Send)) -> Failure {
    let words = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    tracing::error!(what, words, "a task panicked");
    Failure::new(FailureKind::Internal, format!("{what} panicked: {words}"))
        .with_hint("this is a fault in Cooper; please report it with the message above")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_failure_of_its_task_alone() {
        let tasks = Tasks::default();
        let bad = tasks.spawn("a step", async { panic!("boom {}", 1) });
        let good = tasks.spawn("a step", async { 7 });
        let failure = Task::<()>::await_failure(bad).await;
        assert_eq!(failure.kind, FailureKind::Internal);
        assert_eq!(failure.message, "a step panicked: boom 1");
        assert_eq!(good.await, Ok(7));
        assert_eq!(tasks.count(), BTreeMap::new());
        tasks.join_all().await;
    }

    impl Task<()> {
        async fn await_failure(self) -> Failure {
            self.await.expect_err("the task panics")
        }
    }
}
