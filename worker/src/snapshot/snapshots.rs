use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

use cooper_core::model::ResultId;
use parking_lot::Mutex;

use super::{
    Durability, SnapshotError, Snapshotter, View, Writer,
    flush::Flusher,
    reap,
    stack::{Mounted, Stack},
    view::Shared,
};
use crate::{
    clock::now_ns,
    confine::Root,
    limits::Limits,
    meta::{LayerId, LayerInfo, Meta, MetaError, Pin, ResultInfo},
    mount::opaque_mark,
    state::StateDir,
};

/// How many directories of native views are kept though nobody sees them.
const FLAT_VIEWS: usize = 64;

/// Collection and key under which the mark is kept by which this state folder's layers hide what is below them.
const MARKS: (&str, &str) = ("snapshots", "opaque-mark");

/// Layers that root made say what they hide in a way that plain users cannot read, and the other way round.
fn know_marks(meta: &Meta) -> Result<(), SnapshotError> {
    let (collection, key) = MARKS;
    let own = opaque_mark().as_bytes();
    match meta.document(collection, key)? {
        Some(kept) if kept == own => Ok(()),
        Some(_) => Err(SnapshotError::OthersMarks),
        None => Ok(meta.save_document(collection, key, Some(own.to_vec()))?),
    }
}

/// The file-system states of one state folder. Clones are the same.
#[derive(Clone, Debug)]
pub struct Snapshots {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    meta: Meta,
    layers: PathBuf,
    work: PathBuf,
    mount_layers: usize,
    /// A directory with nothing in it.
    empty: PathBuf,
    views: Mutex<HashMap<ResultId, Weak<Shared>>>,
    snapshotter: Snapshotter,
    /// Directories that were made to be seen, and who sees them.
    flat: Mutex<VecDeque<(PathBuf, Weak<Shared>)>>,
    flusher: Flusher,
}

impl Snapshots {
    /// Opens the states, and removes what an earlier process left half-made: directories
    /// without a record, records without their directory, mounts below the state folder.
    ///
    /// # Errors
    /// When the folders cannot be listed or cleaned.
    pub fn open(
        state: &StateDir,
        meta: Meta,
        limits: &Limits,
        durability: Durability,
    ) -> Result<Self, SnapshotError> {
        Self::open_with(state, meta, limits, durability, Snapshotter::default())
    }

    /// As [`Self::open`], where layers become directories as `snapshotter` does it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(
        state: &StateDir,
        meta: Meta,
        limits: &Limits,
        durability: Durability,
        snapshotter: Snapshotter,
    ) -> Result<Self, SnapshotError> {
        know_marks(&meta)?;
        reap::stale_mounts(state.root())?;
        reap::work(&state.work())?;
        reap::layers(&state.layers(), &meta)?;
        Ok(Self {
            inner: Arc::new(Inner {
                meta,
                layers: state.layers(),
                work: state.work(),
                mount_layers: limits.mount_layers,
                empty: state.empty(),
                views: Mutex::default(),
                snapshotter,
                flat: Mutex::default(),
                flusher: Flusher::new(durability),
            }),
        })
    }

    /// The metadata store that knows the states.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.inner.meta
    }

    /// How layers become directories.
    #[must_use]
    pub fn snapshotter(&self) -> Snapshotter {
        self.inner.snapshotter
    }

    /// The layers of a state whose directories should be there and are not; `None` for a state that is not known.
    ///
    /// # Errors
    /// When that cannot be known now.
    pub fn lost_layers(&self, result: &ResultId) -> Result<Option<Vec<LayerId>>, SnapshotError> {
        let meta = &self.inner.meta;
        let info = match meta.result(result) {
            Err(MetaError::NoResult(_)) => return Ok(None),
            known => known?,
        };
        let mut lost = Vec::new();
        for id in info.layers {
            let unpacked = match meta.layer(&id) {
                Err(MetaError::NoLayer(_)) => return Ok(None),
                known => known?.unpacked,
            };
            let dir = self.layer_dir(&id);
            let looked = dir.try_exists();
            if unpacked && !looked.map_err(SnapshotError::io("looking for", dir))? {
                lost.push(id);
            }
        }
        Ok(Some(lost))
    }

    /// Takes a layer's directory away: its files are not what they were. Who has it mounted keeps it; the next start
    /// removes it.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn set_aside(&self, layer: &LayerId) -> Result<(), SnapshotError> {
        let dir = self.layer_dir(layer);
        let aside = self.inner.work.join(LayerId::random().as_str());
        fs::rename(&dir, aside).map_err(SnapshotError::io("setting aside", dir))
    }

    /// Forgets what was made of layers whose directories are gone, so that it is made again. What somebody uses stays.
    ///
    /// # Errors
    /// When the store fails.
    pub fn forget_lost(&self, lost: Vec<LayerId>) -> Result<(), SnapshotError> {
        reap::forget_lost(&self.inner.meta, &lost.into_iter().collect())
    }

    /// The state as one read-only directory. Views of the same state share one mount and
    /// keep the state from removal.
    ///
    /// # Errors
    /// When there is no such result, a layer of it was not unpacked yet, or the mount fails.
    pub fn view(&self, result: &ResultId) -> Result<View, SnapshotError> {
        if let Some(shared) = self.shared(result) {
            return Ok(View::new(shared));
        }
        let pin = self.inner.meta.pins().hold(result);
        let stack = self.stack(result)?;
        let mount = stack.mount(None, &self.inner.work)?;
        let flat = mount.flat.clone();
        let shared = self.share(result, pin, stack, mount);
        if let Some(flat) = flat {
            self.keep_flat(flat, Arc::downgrade(&shared))?;
        }
        Ok(View::new(shared))
    }

    fn share(&self, result: &ResultId, pin: Pin, stack: Stack, mount: Mounted) -> Arc<Shared> {
        let mut views = self.inner.views.lock();
        // Somebody else may have been faster; then theirs is as good.
        if let Some(shared) = views.get(result).and_then(Weak::upgrade) {
            return shared;
        }
        views.retain(|_, shared| shared.strong_count() > 0);
        let work = self.inner.work.clone();
        let shared = Arc::new(Shared::new(pin, stack, work, mount));
        views.insert(result.clone(), Arc::downgrade(&shared));
        shared
    }

    /// Removes the oldest directories that nobody sees any more. Some are left: who has a root may go on reading after
    /// the view is gone.
    fn keep_flat(&self, path: PathBuf, seen_by: Weak<Shared>) -> Result<(), SnapshotError> {
        let mut gone = Vec::new();
        let mut flat = self.inner.flat.lock();
        flat.push_back((path, seen_by));
        for _ in FLAT_VIEWS..flat.len() {
            match flat.pop_front() {
                Some((path, seen_by)) if seen_by.strong_count() == 0 => gone.push(path),
                Some(used) => flat.push_back(used),
                None => {}
            }
        }
        drop(flat);
        let work = Root::open(&self.inner.work)?;
        for path in gone {
            work.remove_all(Path::new(path.file_name().unwrap_or_default()))?;
        }
        Ok(())
    }

    /// A fresh directory on top of the state, which takes changes.
    ///
    /// # Errors
    /// As [`Self::view`].
    pub fn writer(&self, parent: &ResultId) -> Result<Writer, SnapshotError> {
        let pin = self.inner.meta.pins().hold(parent);
        let lower = self.stack(parent)?;
        let layer = LayerId::random();
        let work = self.inner.work.join(layer.as_str());
        Writer::begin(self.clone(), pin, layer, work, &lower)
    }

    /// The directory of a layer.
    #[must_use]
    pub fn layer_dir(&self, layer: &LayerId) -> PathBuf {
        self.inner.layers.join(layer.as_str())
    }

    /// Makes an empty directory in `work/`, to be given to [`Self::adopt_layer`] or removed. A
    /// restart removes it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new_layer_dir(&self, layer: &LayerId) -> Result<PathBuf, SnapshotError> {
        let path = self.inner.work.join(layer.as_str());
        fs::create_dir(&path).map_err(SnapshotError::io("creating", &path))?;
        Ok(path)
    }

    /// Makes a finished directory the directory of a layer, and keeps the layer's record.
    /// Durable when it returns.
    ///
    /// # Errors
    /// When the directory cannot be flushed, renamed or recorded.
    pub fn adopt_layer(&self, made: &Path, info: LayerInfo) -> Result<(), SnapshotError> {
        self.place(made, &info.id, None)?;
        Ok(self.inner.meta.save_layer(info)?)
    }

    /// As [`Self::adopt_layer`], and keeps a result that stands on the layer in the same step, pinned once: nothing
    /// can find the layer unneeded in between.
    ///
    /// # Errors
    /// As [`Self::adopt_layer`].
    pub fn adopt_layer_and_result(
        &self,
        made: &Path,
        layer: LayerInfo,
        result: ResultInfo,
    ) -> Result<ResultId, SnapshotError> {
        self.place(made, &layer.id, None)?;
        let id = result.id.clone();
        self.inner.meta.save_layer_and_result(layer, result)?;
        Ok(id)
    }

    /// Keeps a chain of known layers as a result, pinned once.
    ///
    /// # Errors
    /// When a layer has no record, or the store fails.
    pub fn compose(
        &self,
        layers: Vec<LayerId>,
        description: &str,
    ) -> Result<ResultId, SnapshotError> {
        let info = ResultInfo::new(layers, description, now_ns());
        Ok(self.inner.meta.save_result(info)?)
    }

    /// Removes layers that no result has, records first and directories after. The caller sees
    /// to it that nobody is between making a layer and keeping its result.
    ///
    /// # Errors
    /// When the store fails or a directory cannot be removed.
    pub fn remove_unreferenced(&self) -> Result<Vec<LayerId>, SnapshotError> {
        let unused = self.inner.meta.unreferenced_layers()?;
        let ids = unused.into_iter().map(|info| info.id).collect();
        let removed = self.inner.meta.remove_layers(ids)?;
        let layers = Root::open(&self.inner.layers)?;
        for id in &removed {
            match layers.remove_all(Path::new(id.as_str())) {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
        }
        Ok(removed)
    }

    /// Flushes a directory, of which may be known how many objects it holds, and renames it
    /// into `layers/`.
    pub(super) fn place(
        &self,
        made: &Path,
        layer: &LayerId,
        objects: Option<u64>,
    ) -> Result<(), SnapshotError> {
        self.inner.flusher.flush(made, objects)?;
        let target = self.layer_dir(layer);
        fs::rename(made, &target).map_err(SnapshotError::io("naming", &target))?;
        let layers = &self.inner.layers;
        fs::File::open(layers)
            .and_then(|dir| dir.sync_all())
            .map_err(SnapshotError::io("syncing", layers))
    }

    fn stack(&self, result: &ResultId) -> Result<Stack, SnapshotError> {
        let info = self.inner.meta.result(result)?;
        let mut dirs = Vec::with_capacity(info.layers.len());
        let mut seen = HashSet::new();
        for layer in info.layers.iter().rev() {
            // Overlayfs takes no directory twice, and images often have the empty layer several
            // times. All that a lower occurrence shows or hides, the uppermost does as well.
            if !seen.insert(layer) {
                continue;
            }
            if !self.inner.meta.layer(layer)?.unpacked {
                return Err(SnapshotError::NotUnpacked {
                    result: result.clone(),
                    layer: layer.clone(),
                });
            }
            dirs.push(self.layer_dir(layer));
        }
        // A layer that was made on others may delete what they have, and says so by files that nobody must see.
        if let [only] = info.layers.as_slice()
            && self.inner.meta.layer(only)?.parent != Some(ResultId::scratch())
        {
            dirs.push(self.inner.empty.clone());
        }
        Stack::new(dirs, self.inner.mount_layers, self.inner.snapshotter)
    }

    fn shared(&self, result: &ResultId) -> Option<Arc<Shared>> {
        self.inner.views.lock().get(result).and_then(Weak::upgrade)
    }
}
