use std::collections::BTreeMap;
use std::sync::Arc;
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
    changed: watch::Sender<()>,
    starting: Mutex<()>,
}

impl JobRegistry {
    /// Held while a build starts, so that two of one name cannot both find the name free and write one log.
    pub(crate) fn starting(&self) -> MutexGuard<'_, ()> {
        self.starting.lock()
    }

    /// Opens a build. Its name is free, and stays so while [`JobRegistry::starting`] is held.
    pub(crate) fn insert(&self, job: &Arc<Job>, bridge: Arc<BuildBridge>) {
        let open = (Arc::clone(job), bridge);
        self.open.lock().insert(job.id.clone(), open);
        self.changed.send_replace(());
    }

    /// Forgets a build.
    pub(crate) fn remove(&self, id: &JobId) {
        self.open.lock().remove(id);
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
