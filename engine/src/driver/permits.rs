use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many steps may run at the same time. Who waits is served in the order of asking.
#[derive(Debug, Clone)]
pub(crate) struct Permits(Option<Arc<Semaphore>>);

/// The right to run one step, given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    _held: Vec<OwnedSemaphorePermit>,
}

impl Permits {
    /// At most `limit` steps; any number when `None`.
    pub(crate) fn new(limit: Option<std::num::NonZeroUsize>) -> Self {
        Self(limit.map(|limit| Arc::new(Semaphore::new(limit.get().min(Semaphore::MAX_PERMITS)))))
    }

    /// Waits for a right that counts in all of `all`.
    ///
    /// Always asked for in the same order (the build's first, then the worker's), so that nobody waits in a circle and
    /// a build that has used up its own limit does not stand in the worker's queue.
    ///
    /// # Cancel
    /// Dropping the future leaves the queue.
    pub(crate) async fn acquire(all: [&Self; 2]) -> Permit {
        let mut held = Vec::new();
        for permits in all {
            if let Some(semaphore) = &permits.0 {
                held.push(
                    Arc::clone(semaphore)
                        .acquire_owned()
                        .await
                        .expect("the semaphores are never closed"),
                );
            }
        }
        Permit { _held: held }
    }
}
