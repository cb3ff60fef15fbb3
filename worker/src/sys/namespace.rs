use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::MountPropagationFlags;
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

/// Makes all mounts of this thread's mount namespace private, and their uppermost root this thread's `/`.
///
/// A thread in a chroot has a `/` that need not be a mount point, and cannot name the mount that it lies in; what it
/// mounts there would appear on the machine if that mount is shared. Entering the own namespace again leads to its root
/// (setns(2)), from where everything can be reached. So this is for a namespace that nobody else is in.
///
/// # Errors
/// Without `/proc` or the right to enter a mount namespace and to change its mounts; `InvalidInput` for a thread that
/// shares its root with others.
pub(crate) fn take_whole_mount_namespace() -> io::Result<()> {
    let own = rustix::fs::open(
        "/proc/thread-self/ns/mnt",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    rustix::thread::move_into_link_name_space(
        std::os::fd::AsFd::as_fd(&own),
        Some(LinkNameSpaceType::Mount),
    )?;
    rustix::mount::mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    Ok(())
}

/// Puts this process into user and mount namespaces of its own, in which it has every right and no id yet.
///
/// # Errors
/// Where the kernel or what guards it allows none; `InvalidInput` in a process with several threads.
pub(crate) fn separate_users_and_mounts() -> io::Result<()> {
    // SAFETY: the table of descriptors stays shared (no `FILES`), which is all that this call asks for.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) }?;
    Ok(())
}

/// Puts this thread into a mount namespace of its own, which belongs to its user namespace.
///
/// # Errors
/// Without the right to.
pub(crate) fn separate_mounts() -> io::Result<()> {
    // SAFETY: the table of descriptors stays shared (no `FILES`), which is all that this call asks for.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
    Ok(())
}

/// Gives this process a view of control groups that begins at its own.
///
/// # Errors
/// Without the right to, or in a kernel without control groups.
pub(crate) fn leave_cgroup_namespace() -> io::Result<()> {
    // SAFETY: the table of descriptors stays shared (no `FILES`), which is all that this call asks for.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWCGROUP) }?;
    Ok(())
}

/// A new network namespace, in which nothing but the loopback interface is there, and up.
///
/// # Errors
/// Without `/proc` or the right to.
pub(crate) fn new_network_namespace() -> io::Result<OwnedFd> {
    let made = || -> io::Result<OwnedFd> {
        // SAFETY: the table of descriptors stays shared (no `FILES`), which is all that this call asks for.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
        super::bring_loopback_up()?;
        Ok(rustix::fs::open(
            "/proc/thread-self/ns/net",
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?)
    };
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("new-network".into())
            .spawn_scoped(scope, made)?
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread for a network panicked")))
    })
}

/// Does `work` on a thread of its own whose mounts nobody else sees; they are gone when it ends.
///
/// # Errors
/// Where the thread cannot be started, or without the right to have mounts of its own.
pub(crate) fn with_own_mounts<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let separated = || -> io::Result<T> {
        // SAFETY: the table of descriptors stays shared (no `FILES`), which is all that this call asks for; the working
        // directory and the mounts of this thread alone become its own.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }?;
        // The work's paths are those of our caller, who may live in a chroot.
        let root = rustix::fs::openat(
            CWD,
            "/",
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        take_whole_mount_namespace()?;
        rustix::process::fchdir(&root)?;
        rustix::process::chroot(".")?;
        Ok(work())
    };
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("own-mounts".into())
            .spawn_scoped(scope, separated)?
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread for mounts panicked")))
    })
}
