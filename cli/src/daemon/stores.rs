use std::path::Path;

use cooper_core::model::{Failure, FailureKind};
use cooper_worker::content::ContentStore;
use cooper_worker::images::ImageStore;
use cooper_worker::layer::Layers;
use cooper_worker::limits::Limits;
use cooper_worker::meta::Meta;
use cooper_worker::snapshot::{Durability, Snapshots};
use cooper_worker::state::StateDir;

use crate::config::StateLock;

/// The images of a state folder, opened for one command that needs no engine.
pub struct ImageStores {
    /// The images that have names.
    pub images: ImageStore,
    /// The layers that they are made of.
    pub layers: Layers,
    _lock: StateLock,
}

impl ImageStores {
    /// Opens the images of a state folder; `None` when another process has it.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open(folder: &Path) -> Result<Option<Self>, Failure> {
        let claimed = StateLock::claim(folder).map_err(|error| unusable(folder, &error))?;
        let Some(lock) = claimed else {
            return Ok(None);
        };
        let limits = Limits::default();
        let state = StateDir::open(folder).map_err(|error| unusable(folder, &error))?;
        let content =
            ContentStore::open(state.root(), &limits).map_err(|error| unusable(folder, &error))?;
        let meta = Meta::open(&state.meta()).map_err(|error| unusable(folder, &error))?;
        let snapshots = Snapshots::open(&state, meta, &limits, Durability::default())
            .map_err(|error| unusable(folder, &error))?;
        Ok(Some(Self {
            images: ImageStore::new(&content, &snapshots, &limits),
            layers: Layers::new(content, snapshots, limits),
            _lock: lock,
        }))
    }
}

fn unusable(folder: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        FailureKind::Infrastructure,
        format!(
            "the state folder {} cannot be used: {error}",
            folder.display()
        ),
    )
    .with_hint("choose another with --state FOLDER or COOPER_STATE")
}
