use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::error::{ConfineError, Refusal};
use super::metadata::Metadata;
use super::node::Node;
use super::path::{own_name, relative};
use super::resolve::{Last, open_in_root};

/// A directory that paths cannot leave.
///
/// Paths may be absolute or relative; both start at the root. See the module's documentation for how links are read.
#[derive(Debug)]
pub struct Root {
    dir: OwnedFd,
}

impl Root {
    /// Opens the directory at `path`, which is ours and trusted (links in it are followed anywhere).
    ///
    /// # Errors
    /// Where it cannot be opened as a directory.
    pub fn open(path: &Path) -> Result<Self, ConfineError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| ConfineError::system("open the directory", path, errno))?;
        Ok(Self { dir })
    }

    /// Takes a directory's file descriptor (opened with or without `O_PATH`).
    #[must_use]
    pub fn from_fd(dir: OwnedFd) -> Self {
        Self { dir }
    }

    /// A second handle on the same directory.
    ///
    /// # Errors
    /// Where no file descriptor is left.
    pub fn try_clone(&self) -> Result<Self, ConfineError> {
        let dir = self
            .dir
            .try_clone()
            .map_err(|source| ConfineError::System {
                action: "duplicate",
                path: PathBuf::from("/"),
                source,
            })?;
        Ok(Self { dir })
    }

    /// The directory at `path` as a root of its own, which cannot reach what is outside of it.
    ///
    /// # Errors
    /// Where `path` does not lead to a directory.
    pub fn subroot(&self, path: &Path) -> Result<Self, ConfineError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        self.open_at("open the directory", path, flags, ResolveFlags::empty())
            .map(Self::from_fd)
    }

    /// Finds the object at `path`.
    ///
    /// # Errors
    /// Where nothing is there, or a link on the way leads to nothing.
    pub fn resolve(&self, path: &Path, last: Last) -> Result<Node, ConfineError> {
        let flags = match last {
            Last::Follow => OFlags::PATH,
            Last::NoFollow => OFlags::PATH | OFlags::NOFOLLOW,
        };
        let fd = self.open_at("find", path, flags, ResolveFlags::empty())?;
        Ok(Node::new(fd, path))
    }

    /// Finds the object at `path` where no component of it may be a link: for cleaning up what we made ourselves.
    ///
    /// # Errors
    /// As [`Root::resolve`], and where a component has become a link.
    pub fn resolve_without_links(&self, path: &Path) -> Result<Node, ConfineError> {
        let fd = self.open_at(
            "find",
            path,
            OFlags::PATH | OFlags::NOFOLLOW,
            ResolveFlags::NO_SYMLINKS,
        )?;
        Ok(Node::new(fd, path))
    }

    /// Opens a regular file for reading; links lead to it, also the last one.
    ///
    /// # Errors
    /// [`Refusal::NotRegular`] for anything but a regular file; it is not opened then, so that a pipe does not block and a
    /// device does not act (security.md I3).
    pub fn open_read(&self, path: &Path) -> Result<File, ConfineError> {
        self.resolve(path, Last::Follow)?.open_read()
    }

    /// Opens what a listing of its directory says is a regular file for reading, as a node; a link is not followed.
    ///
    /// For states that nobody changes: unlike [`Root::open_read`] this opens before it looks, which takes half the calls.
    ///
    /// # Errors
    /// [`Refusal::NotRegular`] where it is something else after all.
    pub fn open_listed(&self, path: &Path) -> Result<(Node, Metadata), ConfineError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        self.open_file("read", path, flags)
    }

    /// Opens a regular file that we made ourselves for writing, as a node, without truncating it; a link is not followed.
    ///
    /// # Errors
    /// [`Refusal::NotRegular`] where it is something else after all.
    pub fn write_listed(&self, path: &Path) -> Result<Node, ConfineError> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        Ok(self.open_file("write", path, flags)?.0)
    }

    fn open_file(
        &self,
        action: &'static str,
        path: &Path,
        flags: OFlags,
    ) -> Result<(Node, Metadata), ConfineError> {
        let file = match own_name(path) {
            Some(name) => {
                rustix::fs::openat(&self.dir, name, flags | OFlags::CLOEXEC, Mode::empty())
                    .map_err(|errno| ConfineError::system(action, path, errno))?
            }
            None => self.open_at(action, path, flags, ResolveFlags::empty())?,
        };
        let node = Node::of_file(File::from(file), path);
        let metadata = node.metadata()?;
        if !metadata.is_file() {
            return Err(ConfineError::refused(action, path, Refusal::NotRegular));
        }
        Ok((node, metadata))
    }

    /// Reads a whole regular file of at most `cap` bytes.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] beyond the cap, having read no more than it.
    pub fn read_small(&self, path: &Path, cap: u64) -> Result<Vec<u8>, ConfineError> {
        let file = self.open_read(path)?;
        let mut content = Vec::new();
        file.take(cap.saturating_add(1))
            .read_to_end(&mut content)
            .map_err(|source| ConfineError::System {
                action: "read",
                path: path.to_owned(),
                source,
            })?;
        if content.len() as u64 > cap {
            return Err(ConfineError::refused(
                "read",
                path,
                Refusal::TooLarge { cap },
            ));
        }
        Ok(content)
    }

    /// What the file system knows of the object at `path`.
    ///
    /// # Errors
    /// As [`Root::resolve`].
    pub fn metadata(&self, path: &Path, last: Last) -> Result<Metadata, ConfineError> {
        self.resolve(path, last)?.metadata()
    }

    /// Where the symbolic link at `path` points, as written in it.
    ///
    /// # Errors
    /// Where nothing or no link is there.
    pub fn read_link(&self, path: &Path) -> Result<PathBuf, ConfineError> {
        self.resolve(path, Last::NoFollow)?.read_link()
    }

    pub(super) fn open_at(
        &self,
        action: &'static str,
        path: &Path,
        flags: OFlags,
        resolve: ResolveFlags,
    ) -> Result<OwnedFd, ConfineError> {
        let relative = relative(action, path)?;
        open_in_root(&self.dir, &relative, flags, Mode::empty(), resolve)
            .map_err(|errno| ConfineError::system(action, path, errno))
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}
