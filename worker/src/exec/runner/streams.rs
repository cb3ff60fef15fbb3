//! What a program reads from and writes to.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;

use crate::exec::config::User;
use crate::exec::protocol::{LaunchInput, SetupFailure, send_fds};

type Step<T> = Result<T, SetupFailure>;

/// Sets standard input, and with a terminal the outputs too. The process is in the container and leads its session.
pub(super) fn set_up(input: LaunchInput, fds: &[OwnedFd], user: &User) -> Step<()> {
    match input {
        LaunchInput::Nothing => take_null_as_input(),
        LaunchInput::Pipe(index) => rustix::stdio::dup2_stdin(&fds[index])
            .map_err(|errno| SetupFailure::machine("take the pipe as input", errno)),
        LaunchInput::Terminal(index) => take_terminal(&fds[index], user),
    }
}

/// Standard input becomes the container's own `/dev/null`, which must be one: a mount may have hidden ours.
fn take_null_as_input() -> Step<()> {
    let fail = |errno: Errno| SetupFailure::machine("open /dev/null in the container", errno);
    let null = rustix::fs::open(
        "/dev/null",
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(fail)?;
    let stat = rustix::fs::fstat(&null).map_err(fail)?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(1, 3);
    if !is_null {
        return Err(SetupFailure::request(
            "open /dev/null in the container",
            "it is not the null device",
        ));
    }
    rustix::stdio::dup2_stdin(&null).map_err(fail)
}

/// A new terminal of the container becomes the program's, and its other side goes to the engine.
fn take_terminal(engine: &OwnedFd, user: &User) -> Step<()> {
    let fail = |errno: Errno| SetupFailure::machine("open a terminal in the container", errno);
    // A program of the container may have put something else in its place; a pipe would block.
    let ours = rustix::fs::open(
        "/dev/pts/ptmx",
        OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(fail)?;
    let stat = rustix::fs::fstat(&ours).map_err(fail)?;
    let is_multiplexer = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(5, 2);
    if !is_multiplexer {
        return Err(SetupFailure::request(
            "open a terminal in the container",
            "/dev/pts/ptmx is not the terminal multiplexer",
        ));
    }
    rustix::pty::unlockpt(&ours).map_err(fail)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let theirs = rustix::pty::ioctl_tiocgptpeer(&ours, flags).map_err(fail)?;
    rustix::fs::fchown(&theirs, Some(Uid::from_raw(user.uid)), None).map_err(fail)?;
    rustix::process::ioctl_tiocsctty(&theirs).map_err(fail)?;
    rustix::stdio::dup2_stdin(&theirs).map_err(fail)?;
    rustix::stdio::dup2_stdout(&theirs).map_err(fail)?;
    rustix::stdio::dup2_stderr(&theirs).map_err(fail)?;
    send_fds(engine, b'+', &[ours.as_fd()])
        .map_err(|error| SetupFailure::machine("hand over the terminal", error))
}
