use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;

use crate::meta::LayerId;

/// A lock for each layer that somebody works on.
#[derive(Debug)]
pub(super) struct Keyed<L> {
    locks: Mutex<HashMap<LayerId, Weak<L>>>,
}

impl<L> Default for Keyed<L> {
    fn default() -> Self {
        Self {
            locks: Mutex::default(),
        }
    }
}

impl<L: Default> Keyed<L> {
    /// The layer's lock: the same for all that hold it at the same time.
    pub(super) fn of(&self, layer: &LayerId) -> Arc<L> {
        let mut locks = self.locks.lock();
        if let Some(lock) = locks.get(layer).and_then(Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(L::default());
        locks.insert(layer.clone(), Arc::downgrade(&lock));
        lock
    }
}
