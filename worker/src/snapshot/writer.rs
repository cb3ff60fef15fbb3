use std::{
    fs,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use cooper_core::model::ResultId;

use super::{
    SnapshotError, Snapshots, Snapshotter,
    flatten::note_deletions,
    normalize::normalize,
    settle::settle,
    stack::{Mounted, Stack},
};
use crate::{
    clock::now_ns,
    confine::Root,
    meta::{LayerForm, LayerId, LayerInfo, Pin, ResultInfo},
    mount::{DetachedMount, Flush, Upper},
};

/// A state that is being changed.
///
/// Dropped, it is abandoned and leaves nothing. While it lives its parent is pinned.
#[derive(Debug)]
pub struct Writer {
    snapshots: Snapshots,
    parent: Pin,
    layer: LayerId,
    /// Holds `changes` and the kernel's `kernel`.
    work: PathBuf,
    mount: Option<Mounted>,
}

impl Writer {
    pub(super) fn begin(
        snapshots: Snapshots,
        parent: Pin,
        layer: LayerId,
        work: PathBuf,
        lower: &Stack,
    ) -> Result<Self, SnapshotError> {
        let mut writer = Self {
            snapshots,
            parent,
            layer,
            work,
            mount: None,
        };
        let kernel = writer.work.join("kernel");
        let changes = writer.changes();
        for dir in [&writer.work, &kernel, &changes] {
            make_dir(dir)?;
        }
        like_parent(&changes, lower.top().map(PathBuf::as_path))?;
        let upper = Upper {
            changes,
            work: kernel,
            flush: Flush::ByOwner,
        };
        writer.mount = Some(lower.mount(Some(upper), &writer.work)?);
        Ok(writer)
    }

    /// The state below the changes.
    #[must_use]
    pub const fn parent(&self) -> &ResultId {
        self.parent.result()
    }

    /// The directory that takes the changes: with overlays those alone, with copies the whole state.
    #[must_use]
    pub fn changes(&self) -> PathBuf {
        self.work.join("changes")
    }

    /// The state as one directory, to read and change.
    ///
    /// # Errors
    /// Where no file descriptor is left.
    pub fn root(&self) -> Result<Root, SnapshotError> {
        Ok(self.mounted().mount.root()?)
    }

    /// The state's mount, to attach in one container. It is the same mount as
    /// [`Self::root`]'s: attach it once.
    ///
    /// # Errors
    /// Where no file descriptor is left.
    pub fn mount(&self) -> Result<DetachedMount, SnapshotError> {
        Ok(self.mounted().mount.try_clone()?)
    }

    /// Makes the changes the next layer and returns the result, pinned once. Durable when it
    /// returns. Nothing may still write to the mount, and no handle on it may be left.
    ///
    /// # Errors
    /// When flushing, renaming or recording fails; then the changes are gone.
    pub fn commit(mut self, description: &str) -> Result<ResultId, SnapshotError> {
        let mut layers = self.snapshots.meta().result(self.parent())?.layers;
        layers.push(self.layer.clone());
        let below = if self.parent().is_scratch() {
            None
        } else {
            Some(self.snapshots.view(self.parent())?.root()?)
        };
        let changes = self.take_changes(below.as_ref())?;
        let settled = settle(&changes, below.as_ref())?;
        let now = now_ns();
        self.snapshots
            .place(&self.changes(), &self.layer, Some(settled.objects))?;
        let layer = LayerInfo {
            parent: Some(self.parent().clone()),
            form: if settled.is_opaque {
                LayerForm::Opaque
            } else {
                LayerForm::Plain
            },
            ..LayerInfo::new(self.layer.clone(), description, settled.bytes, now)
        };
        let result = ResultInfo::new(layers, description, now);
        let id = result.id.clone();
        self.snapshots.meta().save_layer_and_result(layer, result)?;
        Ok(id)
    }

    /// Forgets the changes, as dropping does, and says if that failed.
    ///
    /// # Errors
    /// When what was made cannot be removed; the next start tries again.
    pub fn abandon(mut self) -> Result<(), SnapshotError> {
        self.clean_up()
    }

    /// Puts what the state's directory has become into the form of a layer.
    fn take_changes(&mut self, below: Option<&Root>) -> Result<Root, SnapshotError> {
        let changes = Root::open(&self.changes())?;
        if let Some(Mounted { mount, daemon, .. }) = self.mount.take() {
            drop(mount);
            if let Some(daemon) = daemon {
                daemon
                    .wait()
                    .map_err(SnapshotError::io("ending fuse-overlayfs on", &self.work))?;
                normalize(&changes)?;
            }
        }
        if let (Snapshotter::Native, Some(below)) = (self.snapshots.snapshotter(), below) {
            note_deletions(&changes, below)?;
        }
        Ok(changes)
    }

    fn mounted(&self) -> &Mounted {
        self.mount
            .as_ref()
            .expect("a writer is mounted until it is committed")
    }

    fn clean_up(&mut self) -> Result<(), SnapshotError> {
        self.mount = None;
        let parent = self.work.parent().expect("work/ holds it");
        match Root::open(parent)?.remove_all(Path::new(self.layer.as_str())) {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Err(error) = self.clean_up() {
            tracing::warn!(%error, "a half-made layer stays until the next start");
        }
    }
}

fn make_dir(path: &Path) -> Result<(), SnapshotError> {
    fs::DirBuilder::new()
        .mode(0o700)
        .create(path)
        .map_err(SnapshotError::io("creating", path))
}

/// The directory on top decides owner and mode of the whole state's root; without one below
/// it is what every image has.
fn like_parent(changes: &Path, below: Option<&Path>) -> Result<(), SnapshotError> {
    let mut mode = 0o755;
    if let Some(below) = below {
        let root = fs::metadata(below).map_err(SnapshotError::io("looking at", below))?;
        mode = root.mode() & 0o7777;
        std::os::unix::fs::chown(changes, Some(root.uid()), Some(root.gid()))
            .map_err(SnapshotError::io("changing the owner of", changes))?;
    }
    fs::set_permissions(changes, fs::Permissions::from_mode(mode))
        .map_err(SnapshotError::io("changing the mode of", changes))
}
