use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::error::ConfineError;
use super::metadata::{Kind, Metadata};
use super::node::Node;
use super::resolve::Last;
use super::root::Root;

/// One name in a directory, with what `lstat` says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, without its directory.
    pub name: OsString,
    /// Of the entry itself; a link is not followed.
    pub metadata: Metadata,
}

/// What a visitor wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visit {
    /// Go into the directory, if it is one.
    Enter,
    /// Leave out what is below.
    Skip,
}

impl Root {
    /// The entries of the directory at `path`.
    ///
    /// # Shape
    /// Ordered by the names' bytes; without `.` and `..`. An entry that vanished meanwhile is left out.
    ///
    /// # Errors
    /// Where it is not a directory or cannot be read.
    pub fn read_dir(&self, path: &Path) -> Result<Vec<DirEntry>, ConfineError> {
        let dir = self.resolve(path, Last::Follow)?.open_dir()?;
        let fail = |errno| ConfineError::system("list", path, errno);
        let mut entries = Vec::new();
        for name in sorted_names(dir.as_fd()).map_err(fail)? {
            match open_entry(dir.as_fd(), &name) {
                Err(Errno::NOENT) => {}
                fd => {
                    let metadata = Node::new(fd.map_err(fail)?, path).metadata()?;
                    entries.push(DirEntry { name, metadata });
                }
            }
        }
        Ok(entries)
    }

    /// The names in the directory at `path` and what they are, which most file systems tell with the names.
    ///
    /// # Shape
    /// As [`Root::read_dir`]'s.
    ///
    /// # Errors
    /// As [`Root::read_dir`]'s.
    pub fn kinds(&self, path: &Path) -> Result<Vec<(OsString, Kind)>, ConfineError> {
        let dir = self.resolve(path, Last::Follow)?.open_dir()?;
        let fail = |errno| ConfineError::system("list", path, errno);
        let mut named = Vec::new();
        for (name, kind) in sorted_entries(dir.as_fd()).map_err(fail)? {
            if let Some(kind) = kind {
                named.push((name, kind));
                continue;
            }
            match open_entry(dir.as_fd(), &name) {
                Err(Errno::NOENT) => {}
                fd => {
                    let metadata = Node::new(fd.map_err(fail)?, path).metadata()?;
                    named.push((name, metadata.kind));
                }
            }
        }
        Ok(named)
    }

    /// Visits all that is below the directory at `path`, each directory before its content.
    ///
    /// # Shape
    /// Depth first, the entries of one directory ordered by their names' bytes; paths are relative to `path`. The object at
    /// `path` itself is not visited. No link is followed. An entry that vanished meanwhile is left out.
    ///
    /// # Errors
    /// The visitor's, or where something cannot be read.
    pub fn walk<E: From<ConfineError>>(
        &self,
        path: &Path,
        mut visitor: impl FnMut(&Path, &Node, &Metadata) -> Result<Visit, E>,
    ) -> Result<(), E> {
        self.walk_listed(path, |found| match found.open() {
            // It vanished since its directory was read: others may work in a build context.
            Err(error) if error.is_not_found() => Ok(Visit::Skip),
            opened => {
                let (node, metadata) = opened?;
                visitor(found.path, node, metadata)
            }
        })
    }

    /// As [`Root::walk`], but nothing is opened that the visitor does not ask for.
    ///
    /// # Errors
    /// As [`Root::walk`]'s; an entry that vanished is an error of the visitor's call that opens it.
    pub fn walk_listed<E: From<ConfineError>>(
        &self,
        path: &Path,
        mut visitor: impl FnMut(&Found<'_>) -> Result<Visit, E>,
    ) -> Result<(), E> {
        let top = self.resolve(path, Last::Follow)?.open_dir()?;
        let mut levels = vec![Level::read(top, PathBuf::new())?];
        while let Some(level) = levels.last_mut() {
            let Some((name, kind)) = level.entries.next() else {
                levels.pop();
                continue;
            };
            let here = level.path.join(&name);
            let found = Found {
                directory: &level.dir,
                name: &name,
                path: &here,
                kind,
                opened: OnceCell::new(),
            };
            if visitor(&found)? == Visit::Skip {
                continue;
            }
            match found.open_dir() {
                Err(error) if error.is_not_found() => {}
                opened => {
                    if let Some(dir) = opened? {
                        levels.push(Level::read(dir, here)?);
                    }
                }
            }
        }
        Ok(())
    }
}

/// An entry that a walk came to. It is opened when it has to be.
pub struct Found<'a> {
    directory: &'a Arc<Root>,
    name: &'a OsStr,
    path: &'a Path,
    /// What the directory says that it is; some file systems do not.
    kind: Option<Kind>,
    opened: OnceCell<(Node, Metadata)>,
}

impl Found<'_> {
    /// Where it is, relative to where the walk began.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.path
    }

    /// Its name in [`Self::directory`].
    #[must_use]
    pub fn name(&self) -> &OsStr {
        self.name
    }

    /// The directory that holds it.
    #[must_use]
    pub fn directory(&self) -> &Arc<Root> {
        self.directory
    }

    /// What it is.
    ///
    /// # Errors
    /// Where it has to be opened for that, as [`Self::open`].
    pub fn kind(&self) -> Result<Kind, ConfineError> {
        match self.kind {
            Some(kind) => Ok(kind),
            None => Ok(self.open()?.1.kind),
        }
    }

    /// The entry and what `lstat` says of it.
    ///
    /// # Errors
    /// `NotFound` where it vanished since the directory was read.
    pub fn open(&self) -> Result<&(Node, Metadata), ConfineError> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let fd = open_entry(self.directory.as_fd(), self.name)
            .map_err(|errno| ConfineError::system("visit", self.path, errno))?;
        let node = Node::new(fd, self.path);
        let metadata = node.metadata()?;
        Ok(self.opened.get_or_init(|| (node, metadata)))
    }

    /// The entry, opened to be listed; none where it is no directory.
    fn open_dir(&self) -> Result<Option<OwnedFd>, ConfineError> {
        if self.kind()? != Kind::Directory {
            return Ok(None);
        }
        match self.opened.get() {
            Some((node, _)) => node.open_dir().map(Some),
            None => rustix::fs::openat(
                self.directory,
                self.name,
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .map(Some)
            .map_err(|errno| ConfineError::system("list", self.path, errno)),
        }
    }
}

struct Level {
    dir: Arc<Root>,
    path: PathBuf,
    entries: std::vec::IntoIter<(OsString, Option<Kind>)>,
}

impl Level {
    fn read(dir: OwnedFd, path: PathBuf) -> Result<Self, ConfineError> {
        let entries = sorted_entries(dir.as_fd())
            .map_err(|errno| ConfineError::system("list", &path, errno))?;
        Ok(Self {
            dir: Arc::new(Root::from_fd(dir)),
            path,
            entries: entries.into_iter(),
        })
    }
}

fn open_entry(dir: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(
        dir,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// The names in an open directory, ordered by their bytes.
pub(super) fn sorted_names(dir: BorrowedFd<'_>) -> Result<Vec<OsString>, Errno> {
    let entries = sorted_entries(dir)?;
    Ok(entries.into_iter().map(|(name, _)| name).collect())
}

/// The names in an open directory, ordered by their bytes, and what they are where the file system tells.
fn sorted_entries(dir: BorrowedFd<'_>) -> Result<Vec<(OsString, Option<Kind>)>, Errno> {
    let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
    let mut found = Vec::new();
    rustix::fs::seek(dir, rustix::fs::SeekFrom::Start(0))?;
    let mut entries = RawDir::new(dir, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            let kind = Kind::from_file_type(entry.file_type());
            found.push((OsStr::from_bytes(name).to_owned(), kind));
        }
    }
    found.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}
