use std::{
    fs,
    os::fd::{AsFd, AsRawFd},
    path::{Path, PathBuf},
};

use super::{
    SnapshotError, Snapshotter,
    flatten::{Files, flatten},
};
use crate::{
    confine::Root,
    meta::LayerId,
    mount::{DetachedMount, FuseDaemon, OverlayMount, Upper, mount_by_fuse},
};

/// The layer directories of a state.
#[derive(Debug)]
pub(super) struct Stack {
    /// The uppermost first.
    dirs: Vec<PathBuf>,
    /// How many one mount takes.
    cap: usize,
    snapshotter: Snapshotter,
}

/// A state that is mounted.
#[derive(Debug)]
pub(super) struct Mounted {
    pub(super) mount: DetachedMount,
    /// Who shows it, if not the kernel.
    pub(super) daemon: Option<FuseDaemon>,
    /// The directory that was made to be seen; who has the mount removes it in the end.
    pub(super) flat: Option<PathBuf>,
}

impl From<DetachedMount> for Mounted {
    fn from(mount: DetachedMount) -> Self {
        Self {
            mount,
            daemon: None,
            flat: None,
        }
    }
}

impl Stack {
    /// # Errors
    /// When there are more layers than two mounts take.
    pub(super) fn new(
        dirs: Vec<PathBuf>,
        cap: usize,
        snapshotter: Snapshotter,
    ) -> Result<Self, SnapshotError> {
        let both = cap.saturating_mul(2).saturating_sub(1);
        if snapshotter == Snapshotter::Overlayfs && dirs.len() > both {
            return Err(SnapshotError::TooManyLayers {
                layers: dirs.len(),
                cap: both,
            });
        }
        Ok(Self {
            dirs,
            cap,
            snapshotter,
        })
    }

    /// The uppermost directory.
    pub(super) fn top(&self) -> Option<&PathBuf> {
        self.dirs.first()
    }

    /// Mounts the layers as one directory; what has to be made for that is made in `work`.
    pub(super) fn mount(
        &self,
        upper: Option<Upper>,
        work: &Path,
    ) -> Result<Mounted, SnapshotError> {
        // These are directories as they are.
        let is_plain = self.dirs.is_empty() || (self.dirs.len() == 1 && upper.is_none());
        match self.snapshotter {
            Snapshotter::FuseOverlayfs if !is_plain => {
                let layers = self.dirs.clone();
                let (mount, daemon) = mount_by_fuse(&OverlayMount { layers, upper })?;
                Ok(Mounted {
                    daemon: Some(daemon),
                    ..Mounted::from(mount)
                })
            }
            Snapshotter::Native if !is_plain => self.flat(upper, work),
            _ => Ok(self.overlay(upper)?.into()),
        }
    }

    /// A copy to write to, or a directory of links to read in.
    fn flat(&self, upper: Option<Upper>, work: &Path) -> Result<Mounted, SnapshotError> {
        if let Some(upper) = upper {
            flatten(&self.dirs, &Root::open(&upper.changes)?, Files::Copied)?;
            return Ok(DetachedMount::bind_path(&upper.changes)?.into());
        }
        let path = work.join(format!("view-{}", LayerId::random()));
        fs::create_dir(&path).map_err(SnapshotError::io("creating", &path))?;
        flatten(&self.dirs, &Root::open(&path)?, Files::Linked)?;
        let mount = read_only(&path)?;
        Ok(Mounted {
            flat: Some(path),
            ..Mounted::from(mount)
        })
    }

    /// What one mount does not take lies in a second one below it. There can be no third: the
    /// lower mount shows no whiteouts, so nothing may be below it.
    fn overlay(&self, upper: Option<Upper>) -> Result<DetachedMount, SnapshotError> {
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

/// A directory that cannot be written through its mount.
pub(super) fn read_only(path: &Path) -> Result<DetachedMount, SnapshotError> {
    let mount = DetachedMount::bind_path(path)?;
    mount.set_read_only()?;
    Ok(mount)
}
