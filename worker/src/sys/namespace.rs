use std::io;

use rustix::mount::MountPropagationFlags;
use rustix::thread::UnshareFlags;

/// Does `work` on a thread of its own whose mounts nobody else sees; they are gone when it ends.
///
/// # Errors
/// Where the thread cannot be started, or without the right to have mounts of its own.
pub(crate) fn with_own_mounts<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let separated = || -> io::Result<T> {
        // SAFETY: the table of descriptors stays shared (no `FILES`), which is all that this call asks for; the working
        // directory and the mounts of this thread alone become its own.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }?;
        rustix::mount::mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )?;
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
