use std::{path::PathBuf, sync::Arc};

use cooper_core::model::ResultId;

use super::{
    SnapshotError,
    stack::{Mounted, Stack, read_only},
};
use crate::{
    confine::{ConfineError, Root},
    meta::Pin,
    mount::DetachedMount,
};

/// One state as one read-only directory, for as long as a clone of this lives.
#[derive(Clone, Debug)]
pub struct View {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    // The mount goes before the pin: what is mounted is pinned.
    mount: Mounted,
    stack: Stack,
    /// Where something may be made to be mounted.
    work: PathBuf,
    pin: Pin,
}

impl Shared {
    pub(super) const fn new(pin: Pin, stack: Stack, work: PathBuf, mount: Mounted) -> Self {
        Self {
            mount,
            stack,
            work,
            pin,
        }
    }
}

impl View {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Which state this is.
    #[must_use]
    pub fn result(&self) -> &ResultId {
        self.shared.pin.result()
    }

    /// The directory, to read in. It stays valid after the view is gone, but then nothing
    /// keeps the state from removal.
    ///
    /// # Errors
    /// Where no file descriptor is left.
    pub fn root(&self) -> Result<Root, ConfineError> {
        self.shared.mount.mount.root()
    }

    /// A mount of its own of the same state, read-only, to attach in a container. Keep the view
    /// for as long as the container runs.
    ///
    /// # Errors
    /// When the mount fails.
    pub fn mount(&self) -> Result<DetachedMount, SnapshotError> {
        match &self.shared.mount.flat {
            Some(path) => read_only(path),
            None => Ok(self.shared.stack.mount(None, &self.shared.work)?.mount),
        }
    }
}
