use std::fs::File;
use std::io::{self, Seek, Write};

use cooper_core::ports::FileStat;

use super::error::SyncError;
use super::folders::Entries;
use super::tree::Tree;

/// A file that is in no tree.
#[derive(Debug, Clone)]
pub struct Added {
    /// How it is described; its path is a plain name.
    pub stat: FileStat,
    /// What is in it.
    pub bytes: Vec<u8>,
}

impl Added {
    /// Opens it for reading.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn open(&self) -> io::Result<File> {
        let memory = rustix::fs::memfd_create("added", rustix::fs::MemfdFlags::CLOEXEC)?;
        let mut file = File::from(memory);
        file.write_all(&self.bytes)?;
        file.rewind()?;
        Ok(file)
    }
}

/// A tree with further files beside what is in it.
#[derive(Debug)]
pub struct WithAdded {
    tree: Option<Tree>,
    /// Sorted by their names, none of which the tree has.
    added: Vec<Added>,
}

impl WithAdded {
    /// A tree, empty when there is none, and files that it does not have.
    #[must_use]
    pub fn new(tree: Option<Tree>, mut added: Vec<Added>) -> Self {
        added.sort_by(|a, b| a.stat.path.cmp(&b.stat.path));
        Self { tree, added }
    }
}

impl Entries for WithAdded {
    fn visit(
        &self,
        visit: &mut dyn FnMut(FileStat) -> Result<(), SyncError>,
    ) -> Result<(), SyncError> {
        let mut added = self.added.iter().peekable();
        if let Some(tree) = &self.tree {
            tree.walk::<SyncError>(|stat, _| {
                let is_top = !stat.path.contains('/');
                while let Some(next) = added.next_if(|it| is_top && it.stat.path < stat.path) {
                    visit(next.stat.clone())?;
                }
                visit(stat)
            })?;
        }
        added.try_for_each(|it| visit(it.stat.clone()))
    }

    fn open(&self, path: &str) -> io::Result<File> {
        if let Some(added) = self.added.iter().find(|it| it.stat.path == path) {
            return added.open();
        }
        match &self.tree {
            Some(tree) => Ok(tree.open(path)?),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}
