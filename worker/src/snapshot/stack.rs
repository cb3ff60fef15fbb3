use std::{
    os::fd::{AsFd, AsRawFd},
    path::PathBuf,
};

use super::SnapshotError;
use crate::mount::{DetachedMount, OverlayMount, Upper};

/// The layer directories of a state.
#[derive(Debug)]
pub(super) struct Stack {
    /// The uppermost first.
    dirs: Vec<PathBuf>,
    /// How many one mount takes.
    cap: usize,
}

impl Stack {
    /// # Errors
    /// When there are more layers than two mounts take.
    pub(super) fn new(dirs: Vec<PathBuf>, cap: usize) -> Result<Self, SnapshotError> {
        let both = cap.saturating_mul(2).saturating_sub(1);
        if dirs.len() > both {
            return Err(SnapshotError::TooManyLayers {
                layers: dirs.len(),
                cap: both,
            });
        }
        Ok(Self { dirs, cap })
    }

    /// The uppermost directory.
    pub(super) fn top(&self) -> Option<&PathBuf> {
        self.dirs.first()
    }

    /// Mounts the layers as one directory.
    ///
    /// What one mount does not take lies in a second one below it. There can be no third: the
    /// lower mount shows no whiteouts, so nothing may be below it.
    pub(super) fn mount(&self, upper: Option<Upper>) -> Result<DetachedMount, SnapshotError> {
        let mut layers = self.dirs.clone();
        if layers.len() <= self.cap {
            return Ok(OverlayMount { layers, upper }.mount()?);
        }
        let rest = layers.split_off(self.cap - 1);
        let below = OverlayMount {
            layers: rest,
            upper: None,
        }
        .mount()?;
        // The mount on top keeps the one below; the path serves until it is made.
        let path = format!("/proc/self/fd/{}", below.as_fd().as_raw_fd());
        layers.push(PathBuf::from(path));
        Ok(OverlayMount { layers, upper }.mount()?)
    }
}
