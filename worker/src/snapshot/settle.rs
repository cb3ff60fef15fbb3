//! What is done to a layer's directory once nothing changes it any more.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::SnapshotError;
use crate::alike::is_same;
use crate::confine::{ConfineError, Last, Metadata, Node, Root, Time, Visit};
use crate::mount::{is_marked_opaque, opaque_mark};

/// What a directory of changes holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// Bytes of its files.
    pub(super) bytes: u64,
    /// How many files, directories and others there are.
    pub(super) objects: u64,
    /// Whether it holds an opaque directory.
    pub(super) is_opaque: bool,
}

/// Makes a directory of changes mean the same on top of any state, and says what it holds.
///
/// * Overlayfs marks each new directory as opaque, as a short cut: nothing of that name is below it. When layers are
///   merged something may be, and it is not this layer's to hide. So the mark stays only where there was something to
///   hide, which is how BuildKit reads it too.
/// * It copies whole objects up, also when nothing about them changes in the end. On another state such a copy would
///   be a change, so it goes.
pub(super) fn settle(changes: &Root, below: Option<&Root>) -> Result<Settled, SnapshotError> {
    let mut settling = Settling {
        changes,
        below,
        settled: Settled::default(),
        opaque: None,
        absent: None,
        unchanged: Vec::new(),
        holders: BTreeMap::new(),
    };
    changes.walk(Path::new("/"), |path, node, metadata| {
        settling.visit(path, node, metadata)
    })?;
    settling.remove_unchanged_directories()?;
    settling.restore_times()?;
    Ok(settling.settled)
}

struct Settling<'a> {
    changes: &'a Root,
    below: Option<&'a Root>,
    settled: Settled,
    /// The outermost opaque directory on the way to where the walk is: nothing below shows through it.
    opaque: Option<PathBuf>,
    /// The outermost directory on the way to where the walk is that is not below, and so nothing in it is.
    absent: Option<PathBuf>,
    /// Directories that are as they were, but for what is in them.
    unchanged: Vec<PathBuf>,
    /// Directories that something was removed from, with their times before.
    holders: BTreeMap<PathBuf, (Time, Time)>,
}

impl Settling<'_> {
    fn visit(
        &mut self,
        path: &Path,
        node: &Node,
        metadata: &Metadata,
    ) -> Result<Visit, SnapshotError> {
        for outermost in [&mut self.opaque, &mut self.absent] {
            outermost.take_if(|it| !path.starts_with(it));
        }
        let is_unchanged = self.is_unchanged(path, node, metadata)?;
        // Another name of the same file would be a file of its own then.
        if is_unchanged && !metadata.is_dir() && metadata.links == 1 {
            self.note_holder(path)?;
            self.changes.remove_file(path)?;
            return Ok(Visit::Skip);
        }
        self.settled.objects += 1;
        if metadata.is_file() {
            // A file with several names is counted once.
            self.settled.bytes += metadata.size / metadata.links.max(1);
        }
        if !metadata.is_dir() {
            return Ok(Visit::Skip);
        }
        if is_unchanged {
            self.unchanged.push(path.to_owned());
        }
        if is_marked_opaque(node)? {
            if self.absent.is_none() && exists(self.below, path)? {
                self.settled.is_opaque = true;
                self.opaque.get_or_insert_with(|| path.to_owned());
            } else {
                node.remove_xattr(OsStr::new(opaque_mark()))?;
            }
        }
        Ok(Visit::Enter)
    }

    /// Whether what is below says the same and shows.
    fn is_unchanged(
        &mut self,
        path: &Path,
        node: &Node,
        metadata: &Metadata,
    ) -> Result<bool, SnapshotError> {
        let is_hidden = self.opaque.is_some() || self.absent.is_some();
        let Some(below) = self.below.filter(|_| !is_hidden) else {
            return Ok(false);
        };
        let Some(old_node) = find(below, path)? else {
            if metadata.is_dir() {
                self.absent = Some(path.to_owned());
            }
            return Ok(false);
        };
        let old = old_node.metadata()?;
        let alike = old.kind == metadata.kind && old.mtime == metadata.mtime;
        if !alike || (metadata.is_dir() && is_marked_opaque(node)?) {
            return Ok(false);
        }
        let same = is_same(below, &old, self.changes, path, metadata);
        let same = same.map_err(SnapshotError::io("comparing", path))?;
        Ok(same && own_attributes(&old_node)? == own_attributes(node)?)
    }

    /// The innermost first, as far as nothing is in them.
    fn remove_unchanged_directories(&mut self) -> Result<(), SnapshotError> {
        for path in std::mem::take(&mut self.unchanged).iter().rev() {
            self.note_holder(path)?;
            match self.changes.remove_dir(path) {
                Ok(()) => self.settled.objects -= 1,
                Err(error) if is_occupied(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Settling<'_> {
    fn note_holder(&mut self, path: &Path) -> Result<(), ConfineError> {
        let holder = path.parent().unwrap_or(Path::new(""));
        if !self.holders.contains_key(holder) {
            let metadata = self.changes.metadata(holder, Last::NoFollow)?;
            self.holders
                .insert(holder.to_owned(), (metadata.atime, metadata.mtime));
        }
        Ok(())
    }

    /// Removing what did not change is no change of the directory that held it.
    fn restore_times(&self) -> Result<(), ConfineError> {
        for (path, (accessed, modified)) in &self.holders {
            match self.changes.resolve(path, Last::NoFollow) {
                Err(error) if error.is_not_found() => {}
                holder => holder?.set_times(*accessed, *modified)?,
            }
        }
        Ok(())
    }
}

fn is_occupied(error: &ConfineError) -> bool {
    error.io_kind() == Some(std::io::ErrorKind::DirectoryNotEmpty)
}

/// The object at `path`, no component of which is a link.
fn find(root: &Root, path: &Path) -> Result<Option<Node>, ConfineError> {
    use rustix::io::Errno;
    let nothing =
        [Errno::NOENT, Errno::NOTDIR, Errno::LOOP].map(|errno| Some(errno.raw_os_error()));
    match root.resolve_without_links(path) {
        Ok(node) => Ok(Some(node)),
        Err(error) if nothing.contains(&error.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// All attributes but those that overlayfs notes for itself.
fn own_attributes(node: &Node) -> Result<Vec<(OsString, Vec<u8>)>, ConfineError> {
    let mut all = node.xattrs()?;
    all.retain(|(name, _)| {
        let name = name.to_string_lossy();
        !(name.starts_with("trusted.overlay.") || name.starts_with("user.overlay."))
    });
    Ok(all)
}

fn exists(below: Option<&Root>, path: &Path) -> Result<bool, ConfineError> {
    let Some(below) = below else {
        return Ok(false);
    };
    match below.metadata(path, Last::NoFollow) {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        // Something on the way is no directory: then nothing of this path is below.
        Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(error),
    }
}
