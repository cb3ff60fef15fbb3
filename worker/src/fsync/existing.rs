use std::collections::HashMap;
use std::path::Path;

use cooper_core::ports::FileStat;

use super::stat::describe_without_xattrs;
use crate::confine::{ConfineError, DirEntry, Kind, Root};

/// A directory as it was, entry by entry in the order of the protocol, while it is being changed.
///
/// A directory's names are read when it is entered, before anything is put into it.
pub(super) struct Existing {
    levels: Vec<Level>,
    names: HashMap<(u64, u64), String>,
    next: Option<Entry>,
}

/// One entry that was there.
pub(super) struct Entry {
    /// Without extended attributes; a symbolic link's target is read on demand.
    pub(super) stat: FileStat,
    pub(super) kind: Kind,
}

struct Level {
    path: String,
    entries: std::vec::IntoIter<DirEntry>,
}

impl Existing {
    pub(super) fn new(root: &Root) -> Result<Self, ConfineError> {
        let mut existing = Self::nothing();
        existing.enter(root, "")?;
        existing.advance();
        Ok(existing)
    }

    /// An empty directory.
    pub(super) fn nothing() -> Self {
        Self {
            levels: Vec::new(),
            names: HashMap::new(),
            next: None,
        }
    }

    pub(super) fn peek(&self) -> Option<&Entry> {
        self.next.as_ref()
    }

    /// Takes the next entry; what is in it, if it is a directory, comes next.
    pub(super) fn take_and_enter(&mut self, root: &Root) -> Result<Option<Entry>, ConfineError> {
        let Some(entry) = self.next.take() else {
            return Ok(None);
        };
        if entry.kind == Kind::Directory {
            self.enter(root, &entry.stat.path)?;
        }
        self.advance();
        Ok(Some(entry))
    }

    /// Takes the next entry; what is in it is left out.
    pub(super) fn take(&mut self) -> Option<Entry> {
        let entry = self.next.take();
        self.advance();
        entry
    }

    fn enter(&mut self, root: &Root, path: &str) -> Result<(), ConfineError> {
        let place = if path.is_empty() { "." } else { path };
        let entries = root.read_dir(Path::new(place))?;
        self.levels.push(Level {
            path: path.to_owned(),
            entries: entries.into_iter(),
        });
        Ok(())
    }

    fn advance(&mut self) {
        while let Some(level) = self.levels.last_mut() {
            let Some(found) = level.entries.next() else {
                self.levels.pop();
                continue;
            };
            // A name that is not UTF-8 cannot have come from a peer; it is shown so that it is removed.
            let name = found.name.to_string_lossy();
            let path = if level.path.is_empty() {
                name.into_owned()
            } else {
                format!("{}/{name}", level.path)
            };
            let mut stat = describe_without_xattrs(&path, &found.metadata);
            let kind = found.metadata.kind;
            if !matches!(kind, Kind::Directory | Kind::Symlink) && found.metadata.links > 1 {
                let inode = (found.metadata.device, found.metadata.inode);
                match self.names.get(&inode) {
                    Some(first) => stat.linkname.clone_from(first),
                    None => drop(self.names.insert(inode, path)),
                }
            }
            self.next = Some(Entry { stat, kind });
            return;
        }
    }
}
