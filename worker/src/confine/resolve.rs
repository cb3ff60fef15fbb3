use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

/// What to do with a symbolic link in the last component of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// Go where it leads, inside the root.
    Follow,
    /// Take the link itself.
    NoFollow,
}

/// How many times a resolution that raced with a rename is tried again.
///
/// `openat2(2)` answers `EAGAIN` where it cannot prove that a `..` stayed inside the root.
const RACE_RETRIES: u32 = 128;

/// Opens `relative` (from `path::relative`) inside `root`.
pub(super) fn open_in_root(
    root: impl AsFd,
    relative: &Path,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let resolve = resolve | ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut left = RACE_RETRIES;
    loop {
        match openat2(
            root.as_fd(),
            relative,
            flags | OFlags::CLOEXEC,
            mode,
            resolve,
        ) {
            Err(Errno::AGAIN) if left > 0 => left -= 1,
            Err(Errno::INTR) => {}
            answer => return answer,
        }
    }
}
