use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cooper_core::model::UsageRecord;
use parking_lot::Mutex;

use super::results::remove_tree;
use super::room::{Room, allocated_bytes};
use super::{GcError, Ledger};
use crate::confine::Root;

/// Who works on a folder holds its lock.
pub(crate) type FolderLocks = Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>;

/// What the folders of a room are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FolderKind {
    /// How disk usage names the kind.
    pub(crate) record_type: &'static str,
    /// What a folder is called of which nothing else is known.
    pub(crate) description: &'static str,
}

/// Folders that sources keep up to date: mirrors of clients' directories, repositories.
///
/// # Shape
/// A name is of hexadecimal digits, which may be followed by `-` and more letters and digits. Beside a folder
/// `<name>.result` may lie, which goes with it.
pub struct FolderRoom {
    folder: PathBuf,
    locks: FolderLocks,
    ledger: Ledger,
    kind: FolderKind,
}

impl FolderRoom {
    /// The folders in a folder.
    pub(crate) fn new(
        folder: &Path,
        locks: &FolderLocks,
        ledger: &Ledger,
        kind: FolderKind,
    ) -> Self {
        Self {
            folder: folder.to_owned(),
            locks: Arc::clone(locks),
            ledger: ledger.clone(),
            kind,
        }
    }

    fn is_used(&self, name: &str) -> bool {
        let lock = self.locks.lock().get(name).cloned();
        lock.is_some_and(|lock| lock.try_lock().is_err())
    }
}

impl Room for FolderRoom {
    fn records(&self) -> Result<Vec<UsageRecord>, GcError> {
        let uses = self.ledger.entries()?;
        let root = match Root::open(&self.folder) {
            // Made with the first of them.
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            root => root?,
        };
        let mut records = Vec::new();
        let entries = root.read_dir(Path::new("."))?;
        for entry in entries.into_iter().filter(|it| it.metadata.is_dir()) {
            let name = entry.name.to_string_lossy().into_owned();
            let size = match root
                .subroot(Path::new(&entry.name))
                .and_then(|root| allocated_bytes(&root, |_| true))
            {
                // It went meanwhile.
                Err(error) if error.is_not_found() => continue,
                size => size?,
            };
            let seen = uses.get(&name);
            records.push(UsageRecord {
                record_type: self.kind.record_type.to_owned(),
                mutable: true,
                in_use: self.is_used(&name),
                size,
                created_ns: seen.map_or(0, |it| it.created_ns),
                last_used_ns: seen.map(|it| it.last_used_ns),
                usage_count: seen.map_or(0, |it| it.usage_count),
                description: seen.map_or_else(
                    || self.kind.description.to_owned(),
                    |it| it.description.clone(),
                ),
                id: name,
                ..UsageRecord::default()
            });
        }
        Ok(records)
    }

    fn remove(&self, ids: &[String]) -> Result<Vec<String>, GcError> {
        let mut removed = Vec::new();
        for id in ids {
            // A record's id may be of another room; only a directory here is ours.
            let mut letters = id.bytes();
            let is_name = letters.all(|it| it.is_ascii_alphanumeric() || it == b'-');
            if !is_name || !self.folder.join(id).is_dir() {
                continue;
            }
            let lock = self.locks.lock().entry(id.clone()).or_default().clone();
            let Ok(_held) = lock.try_lock() else {
                continue;
            };
            // The note first: without its folder it would name a result that equals nothing.
            remove_tree(&self.folder, &format!("{id}.result"))?;
            remove_tree(&self.folder, id)?;
            self.ledger.forget(id)?;
            removed.push(id.clone());
        }
        Ok(removed)
    }

    fn flush(&self) -> Result<(), GcError> {
        self.ledger.flush()
    }
}
