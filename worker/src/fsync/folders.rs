use std::fs::File;
use std::io;

use cooper_core::ports::FileStat;

use super::added::WithAdded;
use super::error::SyncError;
use super::mode;
use super::tree::Tree;
use crate::confine::Kind;

/// What can be sent: entries in the order of the protocol, and the content of files by their paths.
pub trait Entries: Send + Sync + 'static {
    /// Visits all entries, each directory before its content, names in one directory by their bytes.
    ///
    /// # Errors
    /// The visitor's, or where something cannot be read.
    fn visit(
        &self,
        visit: &mut dyn FnMut(FileStat) -> Result<(), SyncError>,
    ) -> Result<(), SyncError>;

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// Where it is gone or not a regular file.
    fn open(&self, path: &str) -> io::Result<File>;
}

impl Entries for Tree {
    fn visit(
        &self,
        visit: &mut dyn FnMut(FileStat) -> Result<(), SyncError>,
    ) -> Result<(), SyncError> {
        self.walk(|stat, _| visit(stat))
    }

    fn open(&self, path: &str) -> io::Result<File> {
        Ok(Self::open(self, path)?)
    }
}

/// Trees that are sent as directories of one.
#[derive(Debug)]
pub struct Folders(Vec<(FileStat, WithAdded)>);

impl Folders {
    /// Directories by how they are described, the path in it being their name, and what they hold.
    #[must_use]
    pub fn new(mut folders: Vec<(FileStat, WithAdded)>) -> Self {
        folders.sort_by(|a, b| a.0.path.cmp(&b.0.path));
        Self(folders)
    }
}

impl Entries for Folders {
    fn visit(
        &self,
        visit: &mut dyn FnMut(FileStat) -> Result<(), SyncError>,
    ) -> Result<(), SyncError> {
        for (folder, tree) in &self.0 {
            visit(folder.clone())?;
            tree.visit(&mut |mut stat| {
                stat.path = format!("{}/{}", folder.path, stat.path);
                let is_link = !stat.linkname.is_empty();
                if is_link && mode::kind(stat.mode) != Some(Kind::Symlink) {
                    stat.linkname = format!("{}/{}", folder.path, stat.linkname);
                }
                visit(stat)
            })?;
        }
        Ok(())
    }

    fn open(&self, path: &str) -> io::Result<File> {
        let (name, rest) = path.split_once('/').unwrap_or((path, ""));
        let folder = self.0.iter().find(|(folder, _)| folder.path == name);
        match folder {
            Some((_, tree)) => tree.open(rest),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}
