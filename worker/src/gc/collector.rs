use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cooper_core::model::{Failure, FailureKind, PruneRule, UsageRecord};
use cooper_core::ports::Storage;
use parking_lot::Mutex;

use super::plan::Plan;
use super::policy::DiskState;
use super::sweep::sweep;
use super::{GcError, GcPolicy, Room};
use crate::clock::now_ns;
use crate::images::ImageStore;
use crate::layer::Layers;
use crate::sys::give_back_heap;

/// How long documents of images that were looked at stay when nobody asked for their removal.
const GRACE: Duration = Duration::from_secs(3600);

/// Lets go of what is kept. Clones are the same.
#[derive(Clone)]
pub struct Collector {
    inner: Arc<Inner>,
}

struct Inner {
    rooms: Vec<Box<dyn Room>>,
    layers: Layers,
    images: ImageStore,
    folder: PathBuf,
    rules: Vec<PruneRule>,
    one_at_a_time: Mutex<()>,
}

impl Collector {
    /// A collector over these rooms, which are in `folder`.
    ///
    /// # Errors
    /// When the disk does not say how large it is.
    pub fn new(
        rooms: Vec<Box<dyn Room>>,
        layers: &Layers,
        images: &ImageStore,
        folder: PathBuf,
        policy: &GcPolicy,
    ) -> Result<Self, GcError> {
        Ok(Self {
            inner: Arc::new(Inner {
                rooms,
                layers: layers.clone(),
                images: images.clone(),
                rules: policy.rules(DiskState::of(&folder)?),
                folder,
                one_at_a_time: Mutex::default(),
            }),
        })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, GcError> + Send + 'static,
    ) -> Result<T, Failure> {
        let inner = Arc::clone(&self.inner);
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(done) => Ok(done?),
            Err(error) => Err(Failure::new(FailureKind::Internal, error.to_string())),
        }
    }
}

#[async_trait]
impl Storage for Collector {
    async fn usage(&self) -> Result<Vec<UsageRecord>, Failure> {
        self.blocking(Inner::records).await
    }

    async fn prune(&self, rule: PruneRule) -> Result<Vec<UsageRecord>, Failure> {
        self.blocking(move |inner| {
            let _one_at_a_time = inner.one_at_a_time.lock();
            let removed = inner.prune(&rule)?;
            inner.sweep(Duration::ZERO)?;
            Ok(removed)
        })
        .await
    }

    async fn collect(&self) -> Result<(), Failure> {
        self.blocking(|inner| {
            let _one_at_a_time = inner.one_at_a_time.lock();
            for room in &inner.rooms {
                room.flush()?;
            }
            for rule in &inner.rules {
                let removed = inner.prune(rule)?;
                if !removed.is_empty() {
                    tracing::info!(records = removed.len(), "collected garbage");
                }
            }
            let swept = inner.sweep(GRACE);
            // The lists of all that is kept grow with it, and what they took of the heap stays ours by itself.
            give_back_heap();
            swept
        })
        .await
    }

    fn rules(&self) -> Vec<PruneRule> {
        self.inner.rules.clone()
    }
}

impl Inner {
    fn records(&self) -> Result<Vec<UsageRecord>, GcError> {
        let mut records = Vec::new();
        for room in &self.rooms {
            records.extend(room.records()?);
        }
        Ok(records)
    }

    fn prune(&self, rule: &PruneRule) -> Result<Vec<UsageRecord>, GcError> {
        let free = DiskState::of(&self.folder)?.free;
        let mut plan = Plan::new(rule, self.records()?, free, now_ns());
        let mut removed = Vec::new();
        loop {
            let next = plan.next();
            if next.is_empty() {
                return Ok(removed);
            }
            for room in &self.rooms {
                for id in room.remove(&next)? {
                    removed.extend(plan.gone(&id));
                }
            }
            // What a build took meanwhile.
            next.iter().for_each(|id| plan.stays(id));
        }
    }

    fn sweep(&self, grace: Duration) -> Result<(), GcError> {
        match self.images.gate().try_close() {
            Some(_closed) => sweep(&self.layers, &self.images, grace),
            // A build puts things down now; the next call sweeps.
            None => Ok(()),
        }
    }
}
