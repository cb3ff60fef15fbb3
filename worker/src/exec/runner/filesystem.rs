use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::exec::config::ConfigMount;
use crate::exec::protocol::SetupFailure;
use crate::mount::{DetachedMount, MountError};
use crate::sys::MountAttributes;
use crate::userns::Identity;

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

fn is_known_group(number: &str) -> bool {
    let identity = Identity::of_this_process();
    number
        .parse()
        .is_ok_and(|number| identity.has_group(number))
}

/// What a container in a user namespace gets where the kernel refused it a file system of its own with `error`: the one
/// outside. Of the system's it is shown as it is, unless it belongs to this namespace's own network. Of processes it is
/// shown only where that is permitted.
pub(super) fn in_its_place(
    mount: &ConfigMount,
    error: MountError,
    shares_processes: bool,
) -> Result<DetachedMount, SetupFailure> {
    let step = format!("mount {} on {}", mount.kind, mount.destination.display());
    let is_refused = error.source.kind() == std::io::ErrorKind::PermissionDenied
        && Identity::of_this_process().is_mapped();
    let outer = match mount.kind.as_str() {
        "sysfs" if is_refused => "/sys",
        "proc" if is_refused && shares_processes => "/proc",
        "proc" if is_refused => {
            return Err(SetupFailure::machine(
                step,
                "the machine gives this container no /proc of its own: parts of the one outside are hidden. Start the \
                 container that this runs in with systempaths=unconfined (Docker) or procMount: Unmasked (Kubernetes), or \
                 show steps the processes outside with --oci-worker-no-process-sandbox (COOPER_NO_PROCESS_SANDBOX=1)",
            ));
        }
        _ => return Err(SetupFailure::machine(step, error)),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = rustix::fs::open(outer, flags, Mode::empty())
        .map_err(|errno| SetupFailure::machine(&step, errno))?;
    DetachedMount::bind_tree(place, attributes_of(&mount.options))
        .map_err(|error| SetupFailure::machine(&step, error))
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
                // A group that this user namespace has not cannot own anything.
                Some(("gid", group)) if !is_known_group(group) => Ok(()),
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
