use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Properties of a mount (not of its file system).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct MountAttributes(u64);

impl MountAttributes {
    pub(crate) const READ_ONLY: Self = Self(libc::MOUNT_ATTR_RDONLY);
    pub(crate) const NO_SUID: Self = Self(libc::MOUNT_ATTR_NOSUID);
    pub(crate) const NO_DEV: Self = Self(libc::MOUNT_ATTR_NODEV);
    pub(crate) const NO_EXEC: Self = Self(libc::MOUNT_ATTR_NOEXEC);

    pub(crate) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Sets attributes of the mount that `mount` is the root of; those not named stay as they are.
///
/// The mount also leaves the peer group that a bind mount is born into: what is mounted below it must not appear at the
/// place that it was bound from.
///
/// # Errors
/// Where `mount_setattr` fails; `Unsupported` before Linux 5.12.
pub(crate) fn set_mount_attributes(mount: impl AsFd, set: MountAttributes) -> io::Result<()> {
    set_attributes(mount, set, libc::AT_EMPTY_PATH)
}

/// The same for a mount and all that is mounted below it.
///
/// # Errors
/// As [`set_mount_attributes`].
pub(crate) fn set_attributes_of_tree(mount: impl AsFd, set: MountAttributes) -> io::Result<()> {
    set_attributes(mount, set, libc::AT_EMPTY_PATH | libc::AT_RECURSIVE)
}

fn set_attributes(mount: impl AsFd, set: MountAttributes, flags: libc::c_int) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: set.0,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    // SAFETY: the path is a NUL-terminated constant, and `attributes` outlives the call, which only reads it.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags.cast_unsigned(),
            std::ptr::from_ref(&attributes),
            size_of::<libc::mount_attr>(),
        )
    };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
