use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Closes every descriptor but the standard ones and `keep`.
///
/// Meant for the last moments before another program takes over: an owner of one of these descriptors that is dropped
/// later closes a number that may belong to somebody else by then, so that this ends the caller's use of owned
/// descriptors. It is crate-private, and its one caller never returns.
///
/// # Errors
/// Where `close_range` fails; `Unsupported` before Linux 5.9.
pub(crate) fn close_all_but(keep: BorrowedFd<'_>) -> io::Result<()> {
    let keep = keep.as_raw_fd().cast_unsigned();
    for (first, last) in [(3, keep.saturating_sub(1)), (keep.max(2) + 1, u32::MAX)] {
        if first <= last {
            // SAFETY: closing descriptors touches no memory; see above for their owners.
            let answer = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
            if answer != 0 {
                return Err(io::Error::last_os_error());
            }
        }
    }
    Ok(())
}

/// Gives a command's process the file mode mask that programs expect, whatever ours is.
pub(crate) fn with_plain_umask(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and execve, only a system call that touches no memory is made.
    unsafe {
        command.pre_exec(|| {
            libc::umask(0o022);
            Ok(())
        });
    }
}

/// Ends this process at once: no destructors, no exit handlers, which belong to the process that it was forked from.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Gives this process a session keyring of its own, so that it cannot see its parent's keys.
///
/// # Errors
/// Where `keyctl` fails: no quota left, or no support in the kernel.
pub(crate) fn join_new_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring; the call reads no memory.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_JOIN_SESSION_KEYRING,
            std::ptr::null::<libc::c_char>(),
        )
    };
    if answer == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Sets every signal to its default and unblocks all: an ignored signal would stay ignored across `execve`.
pub(crate) fn reset_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: setting a default disposition runs no code of ours; numbers that cannot be set are refused.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: `none` is initialised by `sigemptyset` before it is read, and outlives both calls.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}
