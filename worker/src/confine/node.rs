use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::error::{ConfineError, Refusal};
use super::metadata::{Kind, Metadata, Owner, Time};

/// One object of a file system, pinned by an `O_PATH` file descriptor.
///
/// All methods act on that object whatever happens to its name, and on a symbolic link itself, never on its target.
#[derive(Debug)]
pub struct Node {
    fd: OwnedFd,
    /// For messages only: never opened again.
    path: PathBuf,
}

impl Node {
    pub(super) fn new(fd: OwnedFd, path: &Path) -> Self {
        Self {
            fd,
            path: path.to_owned(),
        }
    }

    /// The path that the object was found by, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path by which calls without a file descriptor argument reach exactly this object.
    ///
    /// Follow the last component (it is a magic link to the object); valid while the node lives.
    #[must_use]
    pub fn proc_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))
    }

    /// The descriptor itself, for mounts by file descriptor.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    fn failed(&self, action: &'static str) -> impl Fn(Errno) -> ConfineError + '_ {
        move |errno| ConfineError::system(action, &self.path, errno)
    }

    /// What the file system knows of the object.
    ///
    /// # Errors
    /// Where `fstat` fails.
    pub fn metadata(&self) -> Result<Metadata, ConfineError> {
        let stat = rustix::fs::fstat(&self.fd).map_err(self.failed("inspect"))?;
        Metadata::from_stat(&stat)
            .ok_or_else(|| ConfineError::system("inspect", &self.path, Errno::INVAL))
    }

    /// Opens the object for reading; only a regular file is accepted.
    ///
    /// # Errors
    /// [`Refusal::NotRegular`] for anything else: a pipe would block and a device would act.
    pub fn open_read(&self) -> Result<File, ConfineError> {
        self.require_regular("read")?;
        // The object is a regular file and cannot become another kind, so that opening it has no effect.
        self.reopen("read", OFlags::RDONLY | OFlags::NONBLOCK)
            .map(File::from)
    }

    /// Opens the object for writing, without truncating; only a regular file is accepted.
    ///
    /// # Errors
    /// [`Refusal::NotRegular`] for anything else.
    pub fn open_write(&self) -> Result<File, ConfineError> {
        self.require_regular("write")?;
        self.reopen("write", OFlags::WRONLY | OFlags::NONBLOCK)
            .map(File::from)
    }

    pub(super) fn open_dir(&self) -> Result<OwnedFd, ConfineError> {
        rustix::fs::openat(
            &self.fd,
            ".",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(self.failed("list"))
    }

    fn require_regular(&self, action: &'static str) -> Result<(), ConfineError> {
        match self.metadata()?.kind {
            Kind::File => Ok(()),
            _ => Err(ConfineError::refused(
                action,
                &self.path,
                Refusal::NotRegular,
            )),
        }
    }

    fn reopen(&self, action: &'static str, flags: OFlags) -> Result<OwnedFd, ConfineError> {
        rustix::fs::open(self.proc_path(), flags | OFlags::CLOEXEC, Mode::empty())
            .map_err(self.failed(action))
    }

    /// Where a symbolic link points, as written in it.
    ///
    /// # Errors
    /// `InvalidInput` where the object is not a link.
    pub fn read_link(&self) -> Result<PathBuf, ConfineError> {
        let target = rustix::fs::readlinkat(&self.fd, "", Vec::new())
            .map_err(self.failed("read the link"))?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// Changes the owner. The kernel drops set-id bits on the way, so that the mode comes after the owner.
    ///
    /// # Errors
    /// Where `fchownat` fails.
    pub fn set_owner(&self, owner: Owner) -> Result<(), ConfineError> {
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        rustix::fs::chownat(&self.fd, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
            .map_err(self.failed("change the owner of"))
    }

    /// Changes the permission bits.
    ///
    /// # Units
    /// `mode` as `chmod` has it, `0o7777` at most.
    ///
    /// # Errors
    /// `Unsupported` for a symbolic link, which has no mode of its own.
    pub fn set_mode(&self, mode: u32) -> Result<(), ConfineError> {
        rustix::fs::chmod(self.proc_path(), Mode::from_raw_mode(mode & 0o7777))
            .map_err(self.failed("change the mode of"))
    }

    /// Sets the times of last access and last modification.
    ///
    /// # Errors
    /// Where `utimensat` fails.
    pub fn set_times(&self, accessed: Time, modified: Time) -> Result<(), ConfineError> {
        let times = Timestamps {
            last_access: accessed.timespec(),
            last_modification: modified.timespec(),
        };
        rustix::fs::utimensat(&self.fd, "", &times, AtFlags::EMPTY_PATH)
            .map_err(self.failed("set the times of"))
    }

    /// Sets one extended attribute.
    ///
    /// # Errors
    /// Where `setxattr` fails.
    pub fn set_xattr(&self, name: &OsStr, value: &[u8]) -> Result<(), ConfineError> {
        rustix::fs::setxattr(self.proc_path(), name, value, XattrFlags::empty())
            .map_err(self.failed("set an extended attribute of"))
    }

    /// Removes one extended attribute.
    ///
    /// # Errors
    /// Where `removexattr` fails, also where there was none of this name.
    pub fn remove_xattr(&self, name: &OsStr) -> Result<(), ConfineError> {
        rustix::fs::removexattr(self.proc_path(), name)
            .map_err(self.failed("remove an extended attribute of"))
    }

    /// All extended attributes, ordered by name. Empty where the file system has none.
    ///
    /// # Errors
    /// Where `listxattr` or `getxattr` fails.
    pub fn xattrs(&self) -> Result<Vec<(OsString, Vec<u8>)>, ConfineError> {
        let failed = self.failed("list the extended attributes of");
        let names = match read_grown(|buffer| rustix::fs::listxattr(self.proc_path(), buffer)) {
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            answer => answer.map_err(&failed)?,
        };
        let mut found = Vec::new();
        for name in names
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
        {
            let name = OsStr::from_bytes(name);
            match read_grown(|buffer| rustix::fs::getxattr(self.proc_path(), name, buffer)) {
                Err(Errno::NODATA) => {}
                value => found.push((name.to_owned(), value.map_err(&failed)?)),
            }
        }
        found.sort();
        Ok(found)
    }
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Calls `read` with a buffer that grows until the answer fits (64 KiB is the kernel's own limit).
fn read_grown(read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 512];
    loop {
        match read(&mut buffer) {
            Err(Errno::RANGE) if buffer.len() < 128 * 1024 => buffer.resize(buffer.len() * 4, 0),
            Err(errno) => return Err(errno),
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
        }
    }
}
