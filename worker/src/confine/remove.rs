use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::error::{ConfineError, Refusal};
use super::path::split;
use super::root::Root;
use super::walk::sorted_names;

const ACTION: &str = "remove";

/// How deep a tree is removed with one descriptor a level; deeper parts are first moved up.
const MAX_OPEN_LEVELS: usize = 128;

/// Removing entries. No link is followed in the last component, and `..` is refused (security.md T-A14).
impl Root {
    /// Removes a file, link, device, pipe or socket.
    ///
    /// # Errors
    /// `NotFound` where there is nothing; `IsADirectory` for a directory.
    pub fn remove_file(&self, path: &Path) -> Result<(), ConfineError> {
        self.unlink(path, AtFlags::empty())
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `NotFound` where there is nothing; `DirectoryNotEmpty` where something is in it.
    pub fn remove_dir(&self, path: &Path) -> Result<(), ConfineError> {
        self.unlink(path, AtFlags::REMOVEDIR)
    }

    /// Removes whatever is at `path` with all that is below it; the root itself is refused.
    ///
    /// # Errors
    /// `NotFound` where there is nothing. What was removed before an error stays removed.
    pub fn remove_all(&self, path: &Path) -> Result<(), ConfineError> {
        let (dir, name) = self.removable(path)?;
        remove_tree(dir, name).map_err(|errno| ConfineError::system(ACTION, path, errno))
    }

    /// Removes all that is in the directory at `path`, which may be the root, and keeps the directory.
    ///
    /// # Errors
    /// Where it is not a directory. What was removed before an error stays removed.
    pub fn clear_dir(&self, path: &Path) -> Result<(), ConfineError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let dir = self.open_at(ACTION, path, flags, rustix::fs::ResolveFlags::empty())?;
        let fail = |errno| ConfineError::system(ACTION, path, errno);
        for name in sorted_names(dir.as_fd()).map_err(fail)? {
            let again = dir.try_clone().map_err(|_| fail(Errno::MFILE))?;
            remove_tree(again, &name).map_err(fail)?;
        }
        Ok(())
    }

    fn unlink(&self, path: &Path, flags: AtFlags) -> Result<(), ConfineError> {
        let (dir, name) = self.removable(path)?;
        rustix::fs::unlinkat(&dir, name, flags)
            .map_err(|errno| ConfineError::system(ACTION, path, errno))
    }

    fn removable<'a>(&self, path: &'a Path) -> Result<(OwnedFd, &'a OsStr), ConfineError> {
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(ConfineError::refused(
                ACTION,
                path,
                Refusal::ParentComponent,
            ));
        }
        split(ACTION, path)?;
        self.parent(ACTION, path)
    }
}

/// One directory that is being emptied: `names` are still to go, then `name` itself in the level above.
struct Level {
    dir: OwnedFd,
    name: OsString,
    names: Vec<OsString>,
}

/// Removes `name` in `parent` without recursion, so that a deep tree costs neither stack nor descriptors.
fn remove_tree(parent: OwnedFd, name: &OsStr) -> Result<(), Errno> {
    let mut levels = vec![Level {
        dir: parent,
        name: OsString::new(),
        names: vec![name.to_owned()],
    }];
    let mut moved_up = 0_u64;
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.pop() else {
            let done = levels.pop().expect("the loop has just seen a level");
            if let Some(above) = levels.last() {
                rustix::fs::unlinkat(&above.dir, &done.name, AtFlags::REMOVEDIR)?;
            }
            continue;
        };
        match rustix::fs::unlinkat(&level.dir, &name, AtFlags::empty()) {
            // Linux says EISDIR; POSIX allows EPERM.
            Err(Errno::ISDIR | Errno::PERM) => {}
            answer => {
                answer?;
                continue;
            }
        }
        if levels.len() > MAX_OPEN_LEVELS {
            moved_up += 1;
            move_up(&mut levels, &name, moved_up)?;
        } else {
            enter(&mut levels, name)?;
        }
    }
    Ok(())
}

fn enter(levels: &mut Vec<Level>, name: OsString) -> Result<(), Errno> {
    let above = levels.last().expect("the caller has a level");
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(&above.dir, &name, flags, Mode::empty())?;
    let names = sorted_names(dir.as_fd())?;
    levels.push(Level { dir, name, names });
    Ok(())
}

/// Moves a directory that is too deep into the outermost directory that is being removed.
fn move_up(levels: &mut [Level], name: &OsStr, number: u64) -> Result<(), Errno> {
    let (outer, inner) = levels.split_at_mut(2);
    let from = &inner
        .last()
        .expect("only called far below the outermost level")
        .dir;
    let target = OsString::from(format!(
        ".cooper-removing-{number}-{}",
        rustix::process::getpid().as_raw_nonzero()
    ));
    rustix::fs::renameat(from, name, &outer[1].dir, &target)?;
    outer[1].names.push(target);
    Ok(())
}
