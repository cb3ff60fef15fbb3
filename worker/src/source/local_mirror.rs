use std::fs;
use std::path::{Path, PathBuf};

use cooper_core::model::ResultId;

use crate::checksum::{ChecksumError, ContentSums};
use crate::clock::now_ns;
use crate::confine::{ConfineError, Kind, Last, Metadata, Node, Root, Visit};
use crate::fsync::{Changes, SyncError};
use crate::meta::{LayerId, LayerInfo, MetaError, ResultInfo};
use crate::snapshot::{SnapshotError, Snapshots};

/// What garbage collection and content digests know a client's directory by.
const RECORD_TYPE: &str = "source.local";

/// The last known state of one client directory, and the result that was made of it.
///
/// # What is shared
/// A result has the files of the mirror by hard links. The mirror's files are therefore only ever replaced, never
/// changed: [`crate::fsync`] sees to that.
#[derive(Debug)]
pub(super) struct Mirror {
    directory: PathBuf,
    /// Holds the id of the result that equals the mirror; absent while they may differ.
    note: PathBuf,
    last: Option<ResultId>,
}

/// Why a mirror could not be opened or made a result.
#[derive(Debug, thiserror::Error)]
pub(super) enum MirrorError {
    #[error("{action} {path:?}: {source}")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Sync(#[from] SyncError),
    #[error(transparent)]
    Files(#[from] ConfineError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Meta(#[from] MetaError),
    #[error(transparent)]
    Sums(#[from] ChecksumError),
}

impl Mirror {
    /// The name of a key's mirror.
    pub(super) fn name(key: &str) -> String {
        blake3::hash(key.as_bytes()).to_hex().to_string()
    }

    /// Opens or begins a mirror below `mirrors`.
    pub(super) fn open(mirrors: &Path, name: &str) -> Result<Self, MirrorError> {
        let directory = mirrors.join(name);
        let note = mirrors.join(format!("{name}.result"));
        match fs::create_dir(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(io("creating", &directory)(error));
            }
            _ => {}
        }
        let last = match fs::read(&note) {
            // A damaged note names nothing that is kept.
            Ok(bytes) => String::from_utf8(bytes).ok().map(ResultId),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(io("reading", &note)(error)),
        };
        Ok(Self {
            directory,
            note,
            last,
        })
    }

    /// The directory to be synced. Until the next [`Self::keep`], the mirror equals no result.
    pub(super) fn begin(&self) -> Result<Root, MirrorError> {
        match fs::remove_file(&self.note) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io("removing", &self.note)(error));
            }
            _ => {}
        }
        Ok(Root::open(&self.directory)?)
    }

    /// Makes a result of the mirror after a sync and pins it once. Without changes it is the last one again.
    pub(super) fn keep(
        &mut self,
        snapshots: &Snapshots,
        sums: &ContentSums,
        changes: &Changes,
        description: &str,
    ) -> Result<ResultId, MirrorError> {
        let last = self.last.take().filter(|last| {
            // Pinned first, so that it cannot go between the look and the use.
            snapshots.meta().pins().pin(last);
            let is_kept = snapshots.meta().result(last).is_ok();
            if !is_kept {
                snapshots.meta().pins().unpin(last);
            }
            is_kept
        });
        let result = match last {
            Some(last) if changes.is_empty() => last,
            last => {
                let made = self.snapshot(snapshots, description);
                if let Some(last) = last {
                    if let Ok(made) = &made {
                        let changed = changes.changed.iter().chain(&changes.removed);
                        sums.derive(made, &last, changed.map(String::as_str))?;
                    }
                    snapshots.meta().pins().unpin(&last);
                }
                made?
            }
        };
        // Written beside and renamed: a torn note would name another result.
        let beside = self.note.with_extension("new");
        fs::write(&beside, &result.0).map_err(io("writing", &beside))?;
        fs::rename(&beside, &self.note).map_err(io("naming", &self.note))?;
        self.last = Some(result.clone());
        Ok(result)
    }

    fn snapshot(&self, snapshots: &Snapshots, description: &str) -> Result<ResultId, MirrorError> {
        let layer = LayerId::random();
        let made = snapshots.new_layer_dir(&layer)?;
        link_tree(&Root::open(&self.directory)?, &Root::open(&made)?)?;
        let now = now_ns();
        let mut info = ResultInfo::new(vec![layer.clone()], description, now);
        info.record_type = RECORD_TYPE.to_owned();
        let layer = LayerInfo::new(layer, description, 0, now);
        Ok(snapshots.adopt_layer_and_result(&made, layer, info)?)
    }
}

/// Gives every file of `from` a second name in `to`, in directories like `from`'s.
fn link_tree(from: &Root, to: &Root) -> Result<(), MirrorError> {
    let mut directories: Vec<(PathBuf, Metadata)> = Vec::new();
    // The directory of the entry before: mostly it is the next one's, too.
    let mut here = (PathBuf::new(), to.try_clone()?);
    from.walk_listed::<ConfineError>(Path::new("."), |found| {
        let path = found.path();
        let directory = path.parent().unwrap_or(Path::new(""));
        if here.0 != directory {
            here = (directory.to_owned(), to.subroot(directory)?);
        }
        if found.kind()? != Kind::Directory {
            here.1.hardlink_listed(found.directory(), found.name())?;
            return Ok(Visit::Skip);
        }
        let (node, metadata) = found.open()?;
        to.mkdir(path, 0o700)?;
        copy_attributes(node, &to.resolve(path, Last::NoFollow)?, metadata)?;
        directories.push((path.to_owned(), metadata.clone()));
        Ok(Visit::Enter)
    })?;
    for (path, metadata) in directories.iter().rev() {
        let node = to.resolve(path, Last::NoFollow)?;
        node.set_times(metadata.atime, metadata.mtime)?;
    }
    to.resolve(Path::new("."), Last::NoFollow)?
        .set_mode(0o755)?;
    Ok(())
}

fn copy_attributes(from: &Node, to: &Node, metadata: &Metadata) -> Result<(), ConfineError> {
    for (name, value) in from.xattrs()? {
        to.set_xattr(&name, &value)?;
    }
    to.set_owner(metadata.owner)?;
    to.set_mode(metadata.mode)
}

fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> MirrorError + 'a {
    move |source| MirrorError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}
