use std::path::Path;
use std::time::Duration;

use cooper_core::model::{Failure, FailureKind};
use cooper_worker::content::ContentStore;
use cooper_worker::images::ImageStore;
use cooper_worker::layer::Layers;
use cooper_worker::limits::Limits;
use cooper_worker::meta::Meta;
use cooper_worker::snapshot::{Durability, Snapshots};
use cooper_worker::state::StateDir;

use crate::config::StateLock;

/// How long a command waits for the process that has the state folder.
const PATIENCE: Duration = Duration::from_secs(5);

/// The images of a state folder, opened for one command that needs no engine.
pub struct ImageStores {
    /// The images that have names.
    pub images: ImageStore,
    /// The layers that they are made of.
    pub layers: Layers,
    _lock: StateLock,
}

impl ImageStores {
    /// Opens the images of a state folder.
    ///
    /// # Errors
    /// When the folder cannot be used, or another process has it and does not let go of it soon.
    pub async fn open(folder: &Path) -> Result<Self, Failure> {
        let lock = claim(folder).await?;
        let limits = Limits::default();
        let state = StateDir::open(folder).map_err(|error| unusable(folder, &error))?;
        let content =
            ContentStore::open(state.root(), &limits).map_err(|error| unusable(folder, &error))?;
        let meta = Meta::open(&state.meta()).map_err(|error| unusable(folder, &error))?;
        let snapshots = Snapshots::open(&state, meta, &limits, Durability::default())
            .map_err(|error| unusable(folder, &error))?;
        Ok(Self {
            images: ImageStore::new(&content, &snapshots, &limits),
            layers: Layers::new(content, snapshots, limits),
            _lock: lock,
        })
    }
}

async fn claim(folder: &Path) -> Result<StateLock, Failure> {
    let begun = tokio::time::Instant::now();
    loop {
        let claimed = StateLock::claim(folder).map_err(|error| unusable(folder, &error))?;
        if let Some(lock) = claimed {
            return Ok(lock);
        }
        if begun.elapsed() > PATIENCE {
            let words = format!(
                "a build or a daemon is using the state folder {}",
                folder.display()
            );
            return Err(Failure::new(FailureKind::Infrastructure, words).with_hint(
                "`cooper image` cannot share the folder with them yet; try again when they have ended",
            ));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
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
