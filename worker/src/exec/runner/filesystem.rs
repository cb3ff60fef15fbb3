use std::os::fd::AsFd;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::exec::config::ConfigMount;
use crate::mount::{DetachedMount, MountError};
use crate::sys::MountAttributes;

/// The options of a bind mount that say something of the mount itself.
pub(super) fn attributes_of(options: &[String]) -> MountAttributes {
    options
        .iter()
        .fold(MountAttributes::default(), |all, option| {
            match option.as_str() {
                "ro" => all.with(MountAttributes::READ_ONLY),
                "nosuid" => all.with(MountAttributes::NO_SUID),
                "nodev" => all.with(MountAttributes::NO_DEV),
                "noexec" => all.with(MountAttributes::NO_EXEC),
                _ => all,
            }
        })
}

/// Makes a new file system as `mount` says. Those of the kernel (`proc`, `mqueue`, `sysfs`) show this process's
/// namespaces.
pub(super) fn new_filesystem(mount: &ConfigMount) -> Result<DetachedMount, MountError> {
    let fail = |step: &'static str| {
        let what = format!("a {}", mount.kind);
        move |errno: rustix::io::Errno| MountError::new(what.clone(), step, errno)
    };
    let context = rustix::mount::fsopen(mount.kind.as_str(), FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(fail("fsopen"))?;
    rustix::mount::fsconfig_set_string(context.as_fd(), "source", &mount.source)
        .map_err(fail("set source"))?;
    let mut attributes = MountAttrFlags::empty();
    for option in &mount.options {
        match option.as_str() {
            "ro" => attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY,
            "nosuid" => attributes |= MountAttrFlags::MOUNT_ATTR_NOSUID,
            "nodev" => attributes |= MountAttrFlags::MOUNT_ATTR_NODEV,
            "noexec" => attributes |= MountAttrFlags::MOUNT_ATTR_NOEXEC,
            "strictatime" => attributes |= MountAttrFlags::MOUNT_ATTR_STRICTATIME,
            "relatime" => attributes |= MountAttrFlags::MOUNT_ATTR_RELATIME,
            option => match option.split_once('=') {
                Some((key, value)) => {
                    rustix::mount::fsconfig_set_string(context.as_fd(), key, value)
                }
                None => rustix::mount::fsconfig_set_flag(context.as_fd(), option),
            }
            .map_err(fail("set its options"))?,
        }
    }
    rustix::mount::fsconfig_create(context.as_fd()).map_err(fail("create"))?;
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map(DetachedMount::from_fd)
        .map_err(fail("fsmount"))
}
