use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::error::{ConfineError, Refusal};
use super::metadata::{Kind, Metadata, Owner, Time};

/// One object of a file system, pinned by a file descriptor.
///
/// All methods act on that object whatever happens to its name, and on a symbolic link itself, never on its target.
#[derive(Debug)]
pub struct Node {
    handle: Handle,
    /// For messages only: never opened again.
    path: PathBuf,
    /// An object never becomes another kind.
    kind: OnceLock<Kind>,
}

#[derive(Debug)]
enum Handle {
    /// Opened with `O_PATH`, which has no effect on any object.
    Place(OwnedFd),
    /// A regular file that is open to be read or written: the kernel takes its descriptor where a place has to be found
    /// again through `/proc`.
    File(File),
}

impl Node {
    pub(super) fn new(fd: OwnedFd, path: &Path) -> Self {
        Self {
            handle: Handle::Place(fd),
            path: path.to_owned(),
            kind: OnceLock::new(),
        }
    }

    pub(super) fn of_file(file: File, path: &Path) -> Self {
        Self {
            handle: Handle::File(file),
            path: path.to_owned(),
            kind: OnceLock::from(Kind::File),
        }
    }

    /// The open file, where it is one.
    #[must_use]
    pub fn file(&self) -> Option<&File> {
        match &self.handle {
            Handle::Place(_) => None,
            Handle::File(file) => Some(file),
        }
    }

    /// The same regular file, open for reading.
    ///
    /// # Errors
    /// As [`Self::open_read`].
    pub fn readable(&self) -> Result<Self, ConfineError> {
        Ok(Self::of_file(self.open_read()?, &self.path))
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
        PathBuf::from(format!("/proc/self/fd/{}", self.as_fd().as_raw_fd()))
    }

    /// The descriptor itself, for mounts by file descriptor.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        match self.handle {
            Handle::Place(fd) => fd,
            Handle::File(file) => file.into(),
        }
    }

    fn failed(&self, action: &'static str) -> impl Fn(Errno) -> ConfineError + '_ {
        move |errno| ConfineError::system(action, &self.path, errno)
    }

    /// What the file system knows of the object.
    ///
    /// # Errors
    /// Where `fstat` fails.
    pub fn metadata(&self) -> Result<Metadata, ConfineError> {
        let stat = rustix::fs::fstat(self).map_err(self.failed("inspect"))?;
        let metadata = Metadata::from_stat(&stat)
            .ok_or_else(|| ConfineError::system("inspect", &self.path, Errno::INVAL))?;
        let _ = self.kind.set(metadata.kind);
        Ok(metadata)
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
            self,
            ".",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(self.failed("list"))
    }

    fn require_regular(&self, action: &'static str) -> Result<(), ConfineError> {
        let kind = match self.kind.get() {
            Some(known) => *known,
            None => self.metadata()?.kind,
        };
        match kind {
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
        let target =
            rustix::fs::readlinkat(self, "", Vec::new()).map_err(self.failed("read the link"))?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// Changes the owner. The kernel drops set-id bits on the way, so that the mode comes after the owner.
    ///
    /// # Errors
    /// Where `fchownat` fails.
    pub fn set_owner(&self, owner: Owner) -> Result<(), ConfineError> {
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        rustix::fs::chownat(self, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH).map_err(|errno| {
            match errno {
                // What the kernel says of an id that this user namespace has not.
                Errno::INVAL => ConfineError::NoSuchOwner {
                    path: self.path.clone(),
                    owner,
                },
                errno => self.failed("change the owner of")(errno),
            }
        })
    }

    /// Changes the permission bits.
    ///
    /// # Units
    /// `mode` as `chmod` has it, `0o7777` at most.
    ///
    /// # Errors
    /// `Unsupported` for a symbolic link, which has no mode of its own.
    pub fn set_mode(&self, mode: u32) -> Result<(), ConfineError> {
        let mode = Mode::from_raw_mode(mode & 0o7777);
        let answer = match &self.handle {
            Handle::Place(_) => rustix::fs::chmod(self.proc_path(), mode),
            Handle::File(file) => rustix::fs::fchmod(file, mode),
        };
        answer.map_err(self.failed("change the mode of"))
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
        rustix::fs::utimensat(self, "", &times, AtFlags::EMPTY_PATH)
            .map_err(self.failed("set the times of"))
    }

    /// Sets one extended attribute.
    ///
    /// # Errors
    /// Where `setxattr` fails.
    pub fn set_xattr(&self, name: &OsStr, value: &[u8]) -> Result<(), ConfineError> {
        let flags = XattrFlags::empty();
        let answer = match &self.handle {
            Handle::Place(_) => rustix::fs::setxattr(self.proc_path(), name, value, flags),
            Handle::File(file) => rustix::fs::fsetxattr(file, name, value, flags),
        };
        answer.map_err(self.failed("set an extended attribute of"))
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
        let names = match read_grown(|buffer| self.list_xattrs(buffer)) {
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            answer => answer.map_err(&failed)?,
        };
        let mut found = Vec::new();
        for name in names
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
        {
            let name = OsStr::from_bytes(name);
            match read_grown(|buffer| self.read_xattr(name, buffer)) {
                // A right that a program has outside of our user namespace alone cannot be said in it.
                Err(Errno::NODATA | Errno::OVERFLOW) => {}
                value => found.push((name.to_owned(), value.map_err(&failed)?)),
            }
        }
        found.sort();
        Ok(found)
    }

    fn list_xattrs(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match &self.handle {
            Handle::Place(_) => rustix::fs::listxattr(self.proc_path(), buffer),
            Handle::File(file) => rustix::fs::flistxattr(file, buffer),
        }
    }

    fn read_xattr(&self, name: &OsStr, buffer: &mut [u8]) -> Result<usize, Errno> {
        match &self.handle {
            Handle::Place(_) => rustix::fs::getxattr(self.proc_path(), name, buffer),
            Handle::File(file) => rustix::fs::fgetxattr(file, name, buffer),
        }
    }
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.handle {
            Handle::Place(fd) => fd.as_fd(),
            Handle::File(file) => file.as_fd(),
        }
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
