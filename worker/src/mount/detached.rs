use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};

use super::error::MountError;
use crate::confine::{ConfineError, Root};
use crate::sys::{MountAttributes, set_attributes_of_tree, set_mount_attributes};

/// A mount without a place. Dropping the last handle on it unmounts it.
#[derive(Debug)]
pub struct DetachedMount {
    fd: OwnedFd,
}

/// A file system in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TmpfsOptions {
    /// Most that it holds, in bytes; 0 leaves it to the kernel (half of the memory).
    pub size: u64,
    /// Permission bits of its root; 0 means `0o1777`.
    pub mode: u32,
}

impl DetachedMount {
    /// Makes what `path`, which is ours, leads to mountable elsewhere.
    ///
    /// # Errors
    /// Where nothing is there, or without the right to mount.
    pub fn bind_path(path: &Path) -> Result<Self, MountError> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let fail = |step| {
            move |error: std::io::Error| MountError::new(path.display().to_string(), step, error)
        };
        let fd = rustix::mount::open_tree(CWD, path, flags)
            .map_err(|errno| fail("open_tree")(errno.into()))?;
        set_mount_attributes(&fd, MountAttributes::default()).map_err(fail("mount_setattr"))?;
        Ok(Self { fd })
    }

    /// Makes the file or directory that `object` refers to mountable elsewhere: exactly that object, whatever its name
    /// leads to by now (security.md I16).
    ///
    /// # Errors
    /// Without the right to mount, or where `object` is on a detached mount and Linux is older than 6.15.
    pub fn bind(object: impl AsFd) -> Result<Self, MountError> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        let fail = |step| move |error: std::io::Error| MountError::new("an open file", step, error);
        let fd = rustix::mount::open_tree(object.as_fd(), "", flags)
            .map_err(|errno| fail("open_tree")(errno.into()))?;
        set_mount_attributes(&fd, MountAttributes::default()).map_err(fail("mount_setattr"))?;
        Ok(Self { fd })
    }

    /// As [`Self::bind`], with all that is mounted below the object, and with `attributes` on each of these mounts.
    ///
    /// # Errors
    /// As [`Self::bind`].
    pub(crate) fn bind_tree(
        object: impl AsFd,
        attributes: MountAttributes,
    ) -> Result<Self, MountError> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH
            | OpenTreeFlags::AT_RECURSIVE;
        let fail =
            |step| move |error: std::io::Error| MountError::new("an open directory", step, error);
        let fd = rustix::mount::open_tree(object.as_fd(), "", flags)
            .map_err(|errno| fail("open_tree")(errno.into()))?;
        set_attributes_of_tree(&fd, attributes).map_err(fail("mount_setattr"))?;
        Ok(Self { fd })
    }

    /// Makes an empty file system in memory.
    ///
    /// # Errors
    /// Without the right to mount.
    pub fn tmpfs(options: TmpfsOptions) -> Result<Self, MountError> {
        Self::tmpfs_with(
            options,
            MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID,
        )
    }

    /// Makes one in which devices can be opened.
    pub(crate) fn tmpfs_with_devices(options: TmpfsOptions) -> Result<Self, MountError> {
        Self::tmpfs_with(options, MountAttrFlags::MOUNT_ATTR_NOSUID)
    }

    fn tmpfs_with(options: TmpfsOptions, attributes: MountAttrFlags) -> Result<Self, MountError> {
        let fail = |step| move |errno| MountError::new("a tmpfs", step, errno);
        let context =
            rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(fail("fsopen"))?;
        let mode = if options.mode == 0 {
            0o1777
        } else {
            options.mode & 0o7777
        };
        let set = |key: &str, value: String| {
            rustix::mount::fsconfig_set_string(context.as_fd(), key, value)
        };
        set("source", "tmpfs".into()).map_err(fail("set source"))?;
        set("mode", format!("{mode:o}")).map_err(fail("set mode"))?;
        if options.size > 0 {
            set("size", options.size.to_string()).map_err(fail("set size"))?;
        }
        rustix::mount::fsconfig_create(context.as_fd()).map_err(fail("create"))?;
        rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .map(Self::from_fd)
            .map_err(fail("fsmount"))
    }

    /// Takes what `fsmount` or `open_tree` gave.
    #[must_use]
    pub(crate) fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Its descriptor alone.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Forbids writing through this mount.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn set_read_only(&self) -> Result<(), MountError> {
        self.set_attributes(MountAttributes::READ_ONLY)
    }

    /// Forbids running programs from this mount.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn set_no_exec(&self) -> Result<(), MountError> {
        self.set_attributes(MountAttributes::NO_EXEC)
    }

    pub(crate) fn set_attributes(&self, attributes: MountAttributes) -> Result<(), MountError> {
        set_mount_attributes(&self.fd, attributes)
            .map_err(|error| MountError::new("with its attributes", "mount_setattr", error))
    }

    /// The mounted directory, to work in without attaching it.
    ///
    /// The root keeps the mount alive; drop it when done.
    ///
    /// # Errors
    /// Where no file descriptor is left.
    pub fn root(&self) -> Result<Root, ConfineError> {
        self.fd
            .try_clone()
            .map(Root::from_fd)
            .map_err(|source| ConfineError::System {
                action: "duplicate",
                path: "/".into(),
                source,
            })
    }

    /// A second handle on the same mount.
    ///
    /// # Errors
    /// Where no file descriptor is left.
    pub fn try_clone(&self) -> Result<Self, MountError> {
        self.fd
            .try_clone()
            .map(Self::from_fd)
            .map_err(|error| MountError::new("a copy", "dup", error))
    }

    /// Attaches the mount to a directory or file of this process's mount namespace.
    ///
    /// # Errors
    /// Where the target is of another kind, or without the right to mount.
    pub fn attach(&self, target: impl AsFd) -> Result<(), MountError> {
        let flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        rustix::mount::move_mount(self.fd.as_fd(), "", target.as_fd(), "", flags)
            .map_err(|errno| MountError::new("onto its target", "move_mount", errno))
    }
}

impl AsFd for DetachedMount {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
