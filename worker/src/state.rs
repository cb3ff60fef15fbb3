//! The one folder that holds everything a worker keeps.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The paths below one state folder.
///
/// # Shape
/// `blobs/` content by digest · `ingest/` blobs that are still arriving · `quarantine/`
/// blobs that no longer match their digest · `layers/` immutable layer directories ·
/// `work/` half-made layers · `cachemounts/` · `locals/` clients' directories · `repositories/`
/// git objects · `networks/` notes of what CNI plugins made · `runtime/` where another
/// runtime works · `logs/` · `cgroup-parents` · `meta.redb`.
///
/// Only one process may have a state folder open; the lock that says so belongs to who
/// opens it.
#[derive(Clone, Debug)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// Opens the folder, and makes what is missing of it. Everything is private to its
    /// owner (security.md I18).
    ///
    /// # Errors
    /// When a folder cannot be made or its mode cannot be set.
    pub fn open(root: &Path) -> io::Result<Self> {
        let root = std::path::absolute(root)?;
        make_private(&root)?;
        let state = Self {
            root: fs::canonicalize(root)?,
        };
        for path in [
            state.layers(),
            state.work(),
            state.empty(),
            state.cache_mounts(),
            state.local_mirrors(),
            state.repositories(),
            state.networks(),
            state.runtime(),
            state.logs(),
        ] {
            make_private(&path)?;
        }
        Ok(state)
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where layer directories are.
    #[must_use]
    pub fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// Where layers are made, and whatever else may vanish at a restart.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// A directory with nothing in it.
    #[must_use]
    pub fn empty(&self) -> PathBuf {
        self.root.join("empty")
    }

    /// Where cache mounts keep their directories.
    #[must_use]
    pub fn cache_mounts(&self) -> PathBuf {
        self.root.join("cachemounts")
    }

    /// Where the last state of clients' directories is kept, to be synced to the next one.
    #[must_use]
    pub fn local_mirrors(&self) -> PathBuf {
        self.root.join("locals")
    }

    /// Where the objects of git repositories are kept.
    #[must_use]
    pub fn repositories(&self) -> PathBuf {
        self.root.join("repositories")
    }

    /// Where it is noted what CNI plugins have to undo.
    #[must_use]
    pub fn networks(&self) -> PathBuf {
        self.root.join("networks")
    }

    /// Where each container of another runtime sees a file system of its own.
    #[must_use]
    pub fn runtime(&self) -> PathBuf {
        self.root.join("runtime")
    }

    /// The file that says below which control groups ours are.
    #[must_use]
    pub fn cgroup_parents(&self) -> PathBuf {
        self.root.join("cgroup-parents")
    }

    /// Where logs are kept in full.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The metadata store's file.
    #[must_use]
    pub fn meta(&self) -> PathBuf {
        self.root.join("meta.redb")
    }
}

fn make_private(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

#[cfg(test)]
mod tests {
    use super::*;

    // T-C2
    #[test]
    fn everything_below_the_state_folder_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("state");
        fs::create_dir(&root).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        let state = StateDir::open(&root).unwrap();
        for path in [
            root,
            state.layers(),
            state.work(),
            state.cache_mounts(),
            state.local_mirrors(),
            state.repositories(),
            state.logs(),
        ] {
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{}", path.display());
        }
    }
}
