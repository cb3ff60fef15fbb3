use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Has the runtime watch a descriptor for what can be read and written.
///
/// # Errors
/// Where it cannot be watched, such as a regular file.
pub(crate) fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names one open descriptor until it is dropped, and the `AsyncFd` owns it.
    let registered = unsafe { AsyncFd::register(fd) };
    registered.map_err(|error| io::Error::other(error.to_string()))
}
