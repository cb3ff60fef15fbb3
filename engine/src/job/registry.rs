use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cooper_core::model::JobId;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use super::Job;
use crate::bridge::BuildBridge;

/// An open build and the way its frontends ask back.
pub(crate) type Open = (Arc<Job>, Arc<BuildBridge>);

/// The builds that are open.
#[derive(Debug, Default)]
pub(crate) struct JobRegistry {
    open: Mutex<BTreeMap<JobId, Open>>,
    ended: Mutex<BTreeMap<i32, u64>>,
    changed: watch::Sender<()>,
    starting: Mutex<()>,
    /// Whether no further build may open.
    closed: AtomicBool,
}

impl JobRegistry {
    /// Held while a build starts, so that two of one name cannot both find the name free and write one log.
    pub(crate) fn starting(&self) -> MutexGuard<'_, ()> {
        self.starting.lock()
    }

    /// Lets no further build open. What is starting just now has started when this is over.
    pub(crate) fn close(&self) {
        let _nothing_starts = self.starting();
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Whether no further build may open; true for good while [`JobRegistry::starting`] is held.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Completes when no build is open.
    pub(crate) async fn empty(&self) {
        let mut changed = self.changed.subscribe();
        loop {
            let is_empty = self.open.lock().is_empty();
            if is_empty || changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Opens a build. Its name is free, and stays so while [`JobRegistry::starting`] is held.
    pub(crate) fn insert(&self, job: &Arc<Job>, bridge: Arc<BuildBridge>) {
        let open = (Arc::clone(job), bridge);
        self.open.lock().insert(job.id.clone(), open);
        self.changed.send_replace(());
    }

    /// Forgets a build that ended with this number of gRPC's; 0 is well.
    pub(crate) fn remove(&self, id: &JobId, code: i32) {
        *self.ended.lock().entry(code).or_default() += 1;
        self.open.lock().remove(id);
        self.changed.send_replace(());
    }

    /// Whether no build is open.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.lock().is_empty()
    }

    /// Completes when no build is open any more: the next time that it comes to that.
    pub(crate) async fn emptied(&self) {
        let mut changed = self.changed.subscribe();
        // The sender is ours: it cannot be gone.
        while changed.changed().await.is_ok() {
            if self.is_empty() {
                return;
            }
        }
    }

    /// The names of those that are open.
    pub(crate) fn names(&self) -> Vec<JobId> {
        self.open.lock().keys().cloned().collect()
    }

    /// How many have ended, by gRPC's number for how.
    pub(crate) fn ended(&self) -> BTreeMap<i32, u64> {
        self.ended.lock().clone()
    }

    /// Whether a build of the name is open.
    pub(crate) fn contains(&self, id: &JobId) -> bool {
        self.open.lock().contains_key(id)
    }

    /// A build that is open.
    pub(crate) fn get(&self, id: &JobId) -> Option<Open> {
        self.open.lock().get(id).cloned()
    }

    /// A build that is open or will be before `wait` is over.
    pub(crate) async fn wait_for(&self, id: &JobId, wait: Duration) -> Option<Open> {
        let mut changed = self.changed.subscribe();
        let found = async {
            loop {
                if let Some(open) = self.get(id) {
                    return Some(open);
                }
                changed.changed().await.ok()?;
            }
        };
        tokio::time::timeout(wait, found).await.ok().flatten()
    }

    /// Stops every build.
    pub(crate) fn cancel_all(&self) {
        for (job, _) in self.open.lock().values() {
            job.cancel.cancel();
        }
    }
}
