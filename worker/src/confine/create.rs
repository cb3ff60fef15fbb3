use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

use super::error::{ConfineError, Refusal};
use super::metadata::Kind;
use super::node::Node;
use super::path::{own_name, split};
use super::resolve::open_in_root;
use super::root::Root;

/// Making and moving entries. The directory that holds the entry must exist ([`Root::mkdir_all`]); the entry's own name
/// is never followed, so that a link in its place is an error and not a way out.
impl Root {
    /// Makes a regular file that must not exist, for writing.
    ///
    /// # Units
    /// `mode` as `open` has it; the process's umask applies, [`Node::set_mode`] does not know it.
    ///
    /// # Errors
    /// `AlreadyExists` where the name is taken, also by a dangling link.
    pub fn create_file(&self, path: &Path, mode: u32) -> Result<File, ConfineError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode & 0o7777);
        self.in_parent("create", path, |dir, name| {
            rustix::fs::openat(dir, name, flags, mode)
        })
        .map(File::from)
    }

    /// Makes a regular file that must not exist, for writing, as a node.
    ///
    /// # Units
    /// As [`Root::create_file`].
    ///
    /// # Errors
    /// As [`Root::create_file`].
    pub fn create_node(&self, path: &Path, mode: u32) -> Result<Node, ConfineError> {
        Ok(Node::of_file(self.create_file(path, mode)?, path))
    }

    /// Makes one directory; the one that holds it must exist.
    ///
    /// # Errors
    /// `AlreadyExists` where the name is taken.
    pub fn mkdir(&self, path: &Path, mode: u32) -> Result<(), ConfineError> {
        let mode = Mode::from_raw_mode(mode & 0o7777);
        self.in_parent("make the directory", path, |dir, name| {
            rustix::fs::mkdirat(dir, name, mode)
        })
    }

    /// Makes a symbolic link at `path` that says `target`, which may be anything: it is only ever read in a root.
    ///
    /// # Errors
    /// `AlreadyExists` where the name is taken.
    pub fn symlink(&self, target: &Path, path: &Path) -> Result<(), ConfineError> {
        self.in_parent("make the link", path, |dir, name| {
            rustix::fs::symlinkat(target, dir, name)
        })
    }

    /// Gives the object at `existing` (a link itself, not its target) a second name.
    ///
    /// # Errors
    /// `AlreadyExists` where the name is taken; where `existing` is a directory or on another file system.
    pub fn hardlink(&self, existing: &Path, path: &Path) -> Result<(), ConfineError> {
        let (from, from_name) = self.parent("link", existing)?;
        self.in_parent("link", path, |dir, name| {
            rustix::fs::linkat(&from, from_name, dir, name, AtFlags::empty())
        })
    }

    /// Gives a node, possibly of another root on the same file system, a name here.
    ///
    /// # Errors
    /// As [`Root::hardlink`].
    pub fn hardlink_node(&self, node: &Node, path: &Path) -> Result<(), ConfineError> {
        let source = node.proc_path();
        self.in_parent("link", path, |dir, name| {
            rustix::fs::linkat(rustix::fs::CWD, &source, dir, name, AtFlags::SYMLINK_FOLLOW)
        })
    }

    /// Gives the entry `name` of a directory on the same file system (a link itself, not its target) a further name, in
    /// this directory itself.
    ///
    /// # Errors
    /// As [`Root::hardlink`], and [`Refusal::NoName`] for a path.
    pub fn hardlink_listed(&self, directory: &Self, name: &OsStr) -> Result<(), ConfineError> {
        let path = Path::new(name);
        let Some(name) = own_name(path) else {
            return Err(ConfineError::refused("link", path, Refusal::NoName));
        };
        rustix::fs::linkat(directory, name, self, name, AtFlags::empty())
            .map_err(|errno| ConfineError::system("link", path, errno))
    }

    /// Makes a device, pipe or socket, or an empty file.
    ///
    /// # Units
    /// `device` as `stat` reports it (`st_rdev`); only devices use it.
    ///
    /// # Errors
    /// `AlreadyExists` where the name is taken; `PermissionDenied` for a device without the right to make it.
    pub fn mknod(
        &self,
        path: &Path,
        kind: Kind,
        mode: u32,
        device: u64,
    ) -> Result<(), ConfineError> {
        let (file_type, mode) = (kind.file_type(), Mode::from_raw_mode(mode & 0o7777));
        self.in_parent("make the node", path, |dir, name| {
            rustix::fs::mknodat(dir, name, file_type, mode, device)
        })
    }

    /// Moves an entry (a link itself, not its target) to another name, replacing what is there as `rename` does.
    ///
    /// # Errors
    /// Where `renameat` fails.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<(), ConfineError> {
        self.rename_with(from, to, RenameFlags::empty())
    }

    /// As [`Root::rename`], but an error where the name is taken.
    ///
    /// # Errors
    /// `AlreadyExists` where the name is taken.
    pub fn rename_new(&self, from: &Path, to: &Path) -> Result<(), ConfineError> {
        self.rename_with(from, to, RenameFlags::NOREPLACE)
    }

    fn rename_with(&self, from: &Path, to: &Path, flags: RenameFlags) -> Result<(), ConfineError> {
        let (source, source_name) = self.parent("rename", from)?;
        self.in_parent("rename to", to, |dir, name| {
            rustix::fs::renameat_with(&source, source_name, dir, name, flags)
        })
    }

    /// The open directory that holds `path`'s last name, and that name.
    pub(super) fn parent<'a>(
        &self,
        action: &'static str,
        path: &'a Path,
    ) -> Result<(OwnedFd, &'a OsStr), ConfineError> {
        let (parent, name) = split(action, path)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let dir = open_in_root(
            self.as_fd(),
            &parent,
            flags,
            Mode::empty(),
            ResolveFlags::empty(),
        )
        .map_err(|errno| ConfineError::system(action, path, errno))?;
        Ok((dir, name))
    }

    fn in_parent<T>(
        &self,
        action: &'static str,
        path: &Path,
        act: impl FnOnce(BorrowedFd<'_>, &OsStr) -> Result<T, Errno>,
    ) -> Result<T, ConfineError> {
        let failed = |errno| ConfineError::system(action, path, errno);
        if let Some(name) = own_name(path) {
            return act(self.as_fd(), name).map_err(failed);
        }
        let (dir, name) = self.parent(action, path)?;
        act(dir.as_fd(), name).map_err(failed)
    }
}
