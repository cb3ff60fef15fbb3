use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::error::{ConfineError, Refusal};
use super::metadata::Owner;
use super::path::relative;
use super::root::Root;

const ACTION: &str = "make the directories of";

/// As many links as Linux follows in one path (`path_resolution(7)`).
const MAX_LINKS: u32 = 40;

impl Root {
    /// Makes the directory at `path` and all that it needs, and says which ones it made, outermost first.
    ///
    /// A dangling link on the way is followed and its target made, as `mkdir -p` in a `chroot` cannot do but `WORKDIR`
    /// must. New directories get exactly `mode` (no umask) and `owner`; existing ones are left as they are.
    ///
    /// # Shape
    /// The returned paths are relative to the root and contain no links at the time of the call.
    ///
    /// # Errors
    /// [`Refusal::NotADirectory`] where something else is in the way. Directories made before an error stay.
    pub fn mkdir_all(
        &self,
        path: &Path,
        mode: u32,
        owner: Option<Owner>,
    ) -> Result<Vec<PathBuf>, ConfineError> {
        let mut walk = Walk {
            root: self,
            whole: path,
            left: VecDeque::new(),
            stack: Vec::new(),
            links: 0,
            made: Vec::new(),
            mode: Mode::from_raw_mode(mode & 0o7777),
            owner,
        };
        walk.push_components(&relative(ACTION, path)?);
        while let Some(step) = walk.left.pop_front() {
            match step {
                Step::Up => drop(walk.stack.pop()),
                Step::Into(name) => walk.enter(&name)?,
            }
        }
        Ok(walk.made)
    }
}

enum Step {
    Up,
    Into(OsString),
}

/// A resolution by hand, one `openat` without following a component, so that a missing directory can be made where the
/// kernel would stop. The way back (`..`) is a stack of descriptors and cannot be redirected by a rename.
struct Walk<'a> {
    root: &'a Root,
    whole: &'a Path,
    left: VecDeque<Step>,
    stack: Vec<(OwnedFd, OsString)>,
    links: u32,
    made: Vec<PathBuf>,
    mode: Mode,
    owner: Option<Owner>,
}

impl Walk<'_> {
    fn push_components(&mut self, path: &Path) {
        for part in path.components().rev() {
            match part {
                Component::Normal(name) => self.left.push_front(Step::Into(name.to_owned())),
                Component::ParentDir => self.left.push_front(Step::Up),
                Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            }
        }
    }

    fn here(&self) -> std::os::fd::BorrowedFd<'_> {
        self.stack
            .last()
            .map_or(self.root.as_fd(), |(dir, _)| dir.as_fd())
    }

    fn fail(&self, errno: Errno) -> ConfineError {
        ConfineError::system(ACTION, self.whole, errno)
    }

    fn refuse(&self, reason: Refusal) -> ConfineError {
        ConfineError::refused(ACTION, self.whole, reason)
    }

    fn enter(&mut self, name: &OsStr) -> Result<(), ConfineError> {
        let fd = match self.open(name) {
            Err(Errno::NOENT) => self.make(name)?,
            answer => answer.map_err(|errno| self.fail(errno))?,
        };
        let stat = rustix::fs::fstat(&fd).map_err(|errno| self.fail(errno))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => self.stack.push((fd, name.to_owned())),
            FileType::Symlink => self.follow(&fd)?,
            _ => return Err(self.refuse(Refusal::NotADirectory)),
        }
        Ok(())
    }

    fn open(&self, name: &OsStr) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(self.here(), name, flags, Mode::empty())
    }

    fn make(&mut self, name: &OsStr) -> Result<OwnedFd, ConfineError> {
        match rustix::fs::mkdirat(self.here(), name, self.mode) {
            // Somebody else made it at the same time: it is theirs.
            Err(Errno::EXIST) => return self.open(name).map_err(|errno| self.fail(errno)),
            answer => answer.map_err(|errno| self.fail(errno))?,
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self.here(), name, flags, Mode::empty())
            .map_err(|errno| self.fail(errno))?;
        if let Some(owner) = self.owner {
            let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
            rustix::fs::chownat(&fd, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH).map_err(
                |errno| match errno {
                    // What the kernel says of an id that this user namespace has not.
                    Errno::INVAL => ConfineError::NoSuchOwner {
                        path: self.whole.to_owned(),
                        owner,
                    },
                    errno => self.fail(errno),
                },
            )?;
        }
        rustix::fs::fchmod(&fd, self.mode).map_err(|errno| self.fail(errno))?;
        let mut path: PathBuf = self.stack.iter().map(|(_, name)| name).collect();
        path.push(name);
        self.made.push(path);
        Ok(fd)
    }

    fn follow(&mut self, link: &OwnedFd) -> Result<(), ConfineError> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(self.refuse(Refusal::TooManyLinks));
        }
        let target =
            rustix::fs::readlinkat(link, "", Vec::new()).map_err(|errno| self.fail(errno))?;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        if target.is_absolute() {
            self.stack.clear();
        }
        self.push_components(&target);
        Ok(())
    }
}
