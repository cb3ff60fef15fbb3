use std::fs;
use std::path::Path;

use super::SnapshotError;
use crate::confine::{Last, Root};
use crate::meta::LayerId;
use crate::mount::{Flush, OverlayMount, Upper, mount_by_fuse};

/// How the layers of a state become one directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Snapshotter {
    /// The kernel's overlays.
    #[default]
    Overlayfs,
    /// Overlays by the program `fuse-overlayfs`.
    FuseOverlayfs,
    /// Copies.
    Native,
}

impl Snapshotter {
    /// The name by which BuildKit knows it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Overlayfs => "overlayfs",
            Self::FuseOverlayfs => "fuse-overlayfs",
            Self::Native => "native",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Overlayfs, Self::FuseOverlayfs, Self::Native]
            .into_iter()
            .find(|it| it.name() == name)
    }

    /// The first one that works in `folder`, in the order of their costs. What does not work is said in the log.
    #[must_use]
    pub fn choose(folder: &Path) -> Self {
        for it in [Self::Overlayfs, Self::FuseOverlayfs] {
            match it.try_in(folder) {
                Ok(()) => return it,
                Err(error) => {
                    tracing::warn!(%error, "{} cannot be used here", it.name());
                }
            }
        }
        tracing::warn!("states are copied whole, which is slow and takes space");
        Self::Native
    }

    /// Makes a small state in `folder` and changes it.
    ///
    /// # Errors
    /// What keeps it from working.
    pub fn try_in(self, folder: &Path) -> Result<(), SnapshotError> {
        if self == Self::Native {
            return Ok(());
        }
        let name = format!("probe-{}", LayerId::random());
        let place = folder.join(&name);
        let tried = self.try_at(&place);
        let removed = Root::open(folder)?.remove_all(Path::new(&name));
        tried?;
        Ok(removed?)
    }

    fn try_at(self, place: &Path) -> Result<(), SnapshotError> {
        let make = |name: &str| {
            let path = place.join(name);
            fs::create_dir_all(&path).map_err(SnapshotError::io("creating", &path))?;
            Ok::<_, SnapshotError>(path)
        };
        let (below, above) = (make("below")?, make("above")?);
        let upper = Upper {
            changes: make("changes")?,
            work: make("kernel")?,
            flush: Flush::ByOwner,
        };
        let file = below.join("file");
        fs::write(&file, "").map_err(SnapshotError::io("creating", &file))?;
        let overlay = OverlayMount {
            layers: vec![above, below],
            upper: Some(upper),
        };
        let (mount, daemon) = match self {
            Self::FuseOverlayfs => {
                let (mount, daemon) = mount_by_fuse(&overlay)?;
                (mount, Some(daemon))
            }
            Self::Overlayfs | Self::Native => (overlay.mount()?, None),
        };
        let root = mount.root()?;
        root.remove_file(Path::new("file"))?;
        let is_gone = root.metadata(Path::new("file"), Last::NoFollow).is_err();
        drop((root, mount));
        if let Some(daemon) = daemon {
            daemon
                .wait()
                .map_err(SnapshotError::io("ending fuse-overlayfs on", place))?;
        }
        if is_gone {
            return Ok(());
        }
        let words = std::io::Error::other("a deleted file stays");
        Err(SnapshotError::io("deleting in", place)(words))
    }
}
