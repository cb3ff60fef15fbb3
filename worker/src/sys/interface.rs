use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Brings the loopback interface of this network namespace up.
///
/// # Errors
/// Where there is no socket or no right to configure it.
pub(crate) fn bring_loopback_up() -> io::Result<()> {
    let flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    set_flags(&control_socket()?, "lo", flags)
}

/// Whether this network namespace has an interface of this name.
///
/// # Errors
/// Where there is no socket to ask with.
pub(crate) fn has_interface(name: &str) -> io::Result<bool> {
    let mut request = request(name)?;
    match control(&control_socket()?, libc::SIOCGIFFLAGS, &mut request) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(false),
        answer => answer.map(|()| true),
    }
}

/// Takes a bridge of this network namespace away.
///
/// # Errors
/// Where it is none, or without the right to.
pub(crate) fn remove_bridge(name: &str) -> io::Result<()> {
    /// linux/sockios.h
    const SIOCBRDELBR: libc::c_ulong = 0x89a1;
    let socket = control_socket()?;
    set_flags(&socket, name, 0)?;
    let mut request = request(name)?;
    // The call reads a name alone, which an `ifreq` begins with.
    control(&socket, SIOCBRDELBR, &mut request)
}

fn control_socket() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

fn set_flags(socket: &OwnedFd, name: &str, flags: libc::c_short) -> io::Result<()> {
    let mut request = request(name)?;
    request.ifr_ifru.ifru_flags = flags;
    control(socket, libc::SIOCSIFFLAGS, &mut request)
}

/// A request about an interface, all zero but for its name.
fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: an all-zero `ifreq` is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}

fn control(socket: &OwnedFd, call: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: the calls that this module makes read and write an `ifreq` or less, which outlives them.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), call as _, std::ptr::from_mut(request)) };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
