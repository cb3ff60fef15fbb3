use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Counts how often the user asked to stop: once to cancel, once more to stop without waiting.
#[derive(Clone, Debug, Default)]
pub struct Interrupts {
    count: Arc<AtomicU32>,
    changed: Arc<Notify>,
    tasks: TaskTracker,
}

impl Interrupts {
    /// Listens for SIGINT and SIGTERM from now on. Must be called inside a tokio runtime.
    #[must_use]
    pub fn listen() -> Self {
        let interrupts = Self::default();
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            // Without a handler the signal does what it always does.
            if let Ok(mut signals) = signal(kind) {
                let interrupts = interrupts.clone();
                interrupts.tasks.clone().spawn(async move {
                    while signals.recv().await.is_some() {
                        interrupts.count.fetch_add(1, Ordering::SeqCst);
                        interrupts.changed.notify_waiters();
                    }
                });
            }
        }
        interrupts
    }

    /// Whether the user asked to stop.
    #[must_use]
    pub fn was_interrupted(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }

    /// Whether the user asked again.
    #[must_use]
    pub fn is_forced(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 1
    }

    /// Waits until the user asked to stop.
    pub async fn interrupted(&self) {
        self.reached(1).await;
    }

    /// Waits until the user asked again.
    pub async fn forced(&self) {
        self.reached(2).await;
    }

    /// Cancels when the user asks to stop, and completes when the user asks again.
    pub async fn cancel_then_force(&self, cancel: &CancellationToken) {
        self.interrupted().await;
        cancel.cancel();
        self.forced().await;
    }

    /// Waits until the user asked this often.
    pub async fn reached(&self, count: u32) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.count.load(Ordering::SeqCst) >= count {
                return;
            }
            changed.await;
        }
    }
}
