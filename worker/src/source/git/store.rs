use std::fs;
use std::path::{Path, PathBuf};

use cooper_core::model::{Failure, FailureKind};
use tokio::sync::OwnedMutexGuard;

use super::address::Address;
use super::command::Git;
use crate::confine::Root;
use crate::gc::{FolderKind, FolderLocks, FolderRoom, Ledger};
use crate::meta::{LayerId, Meta};
use crate::snapshot::Snapshots;

/// The objects of repositories that were fetched before, one bare repository an address.
#[derive(Clone)]
pub(super) struct Store {
    folder: PathBuf,
    locks: FolderLocks,
    ledger: Ledger,
}

const REPOSITORIES: FolderKind = FolderKind {
    record_type: "source.git.checkout",
    description: "shared git repo",
};

/// A bare repository that nobody else uses while this lives.
pub(super) struct Repository {
    /// Git in the repository.
    pub(super) git: Git,
    pub(super) folder: PathBuf,
    _lock: OwnedMutexGuard<()>,
}

impl Store {
    pub(super) fn new(folder: PathBuf, meta: &Meta) -> Self {
        Self {
            folder,
            locks: FolderLocks::default(),
            ledger: Ledger::new(meta, "git-repository-1"),
        }
    }

    /// The repositories, to be let go.
    pub(super) fn room(&self) -> FolderRoom {
        FolderRoom::new(&self.folder, &self.locks, &self.ledger, REPOSITORIES)
    }

    /// The repository of an address, made when there is none.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) async fn open(
        &self,
        git: &Git,
        address: &Address,
        is_sha256: bool,
    ) -> Result<Repository, Failure> {
        let hash = blake3::hash(address.remote.as_bytes()).to_hex();
        let name = match is_sha256 {
            true => format!("{hash}-sha256"),
            false => hash.to_string(),
        };
        let lock = self.locks.lock().entry(name.clone()).or_default().clone();
        let lock = lock.lock_owned().await;
        // BuildKit's words, by which disk usage shows them.
        let description = format!("shared git repo for {}", address.shown);
        self.ledger.note(&name, &description);
        let folder = self.folder.join(name);
        let git = git.in_repository(&folder);
        // HEAD is among the last that git makes; what it began before is made again.
        if !folder.join("HEAD").is_file() {
            self.make(&git, &folder, address, is_sha256).await?;
        }
        Ok(Repository {
            git,
            folder,
            _lock: lock,
        })
    }

    async fn make(
        &self,
        git: &Git,
        folder: &Path,
        address: &Address,
        is_sha256: bool,
    ) -> Result<(), Failure> {
        fs::create_dir_all(folder).map_err(|error| broken("a repository's folder", &error))?;
        let what = format!("failed to init repo for {}", address.shown);
        let failing = |error: super::command::GitError| error.failing(&what);
        let mut init = vec!["init", "--bare"];
        if is_sha256 {
            init.push("--object-format=sha256");
        }
        git.run(&init).await.map_err(failing)?;
        // Checkouts take any commit from here, and submodules are found relative to where this came from.
        for (key, value) in [
            ("uploadpack.allowAnySHA1InWant", "true"),
            ("remote.origin.url", address.remote.as_str()),
        ] {
            git.run(&["config", key, value]).await.map_err(failing)?;
        }
        Ok(())
    }
}

/// A folder that is gone when its owner is.
pub(super) struct Scratch {
    pub(super) path: PathBuf,
}

impl Scratch {
    /// An empty folder beside the layers.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn new(snapshots: &Snapshots) -> Result<Self, Failure> {
        let made = snapshots.new_layer_dir(&LayerId::random());
        let path =
            made.map_err(|error| Failure::new(FailureKind::Infrastructure, error.to_string()))?;
        Ok(Self { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let (Some(parent), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return;
        };
        let removed = Root::open(parent).and_then(|root| root.remove_all(Path::new(name)));
        if let Err(error) = removed {
            tracing::warn!(%error, "a checkout's folder stays until the next start");
        }
    }
}

pub(super) fn broken(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(FailureKind::Infrastructure, format!("{what}: {error}"))
}
