use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use super::command::Call;
use crate::exec::protocol::{LaunchInput, Report, SetupFailure, receive_fds, send_fds};

/// The place where the runtime hands a program's terminal over.
pub(super) struct Console<'a> {
    listener: UnixListener,
    engine: &'a OwnedFd,
}

impl<'a> Console<'a> {
    /// Listens in the bundle, for a program that has a terminal.
    pub(super) fn listen(
        call: &Call<'_>,
        input: LaunchInput,
        fds: &'a [OwnedFd],
    ) -> Result<Option<Self>, SetupFailure> {
        let LaunchInput::Terminal(index) = input else {
            return Ok(None);
        };
        let listener = UnixListener::bind(call.file("console"))
            .map_err(|error| SetupFailure::machine("listen for a terminal", error))?;
        Ok(Some(Self {
            listener,
            engine: &fds[index],
        }))
    }

    /// Hands on what the runtime, which has ended, handed over.
    pub(super) fn hand_on(self) -> Result<(), SetupFailure> {
        let handed = || -> io::Result<()> {
            // Who never connected never will.
            self.listener.set_nonblocking(true)?;
            let (runtime, _) = self.listener.accept()?;
            let terminal = receive_fds(&runtime)?.and_then(|(_, mut fds)| fds.pop());
            let terminal = terminal.ok_or(io::ErrorKind::UnexpectedEof)?;
            send_fds(self.engine, b'+', &[terminal.as_fd()])
        };
        handed().map_err(|error| SetupFailure::machine("hand over the terminal", error))
    }
}

/// The process whose number the runtime wrote down.
pub(super) fn started(call: &Call<'_>) -> Result<OwnedFd, SetupFailure> {
    let opened = || -> io::Result<OwnedFd> {
        let number = std::fs::read_to_string(call.file("pid"))?;
        let number = number.trim().parse().ok().and_then(Pid::from_raw);
        let number = number.ok_or(io::ErrorKind::InvalidData)?;
        Ok(rustix::process::pidfd_open(number, PidfdFlags::empty())?)
    };
    opened().map_err(|error| SetupFailure::machine("find the program", error))
}

/// Waits for a program that is this process's child by now, and kills it when the engine says so.
pub(super) fn wait(program: &OwnedFd, engine: Option<&UnixStream>) -> io::Result<Report> {
    let mut engine = engine;
    while let Some(socket) = engine {
        let ended = PollFd::new(program, PollFlags::IN);
        let mut polled = [ended, PollFd::new(socket, PollFlags::IN)];
        match rustix::event::poll(&mut polled, None) {
            Err(rustix::io::Errno::INTR) => continue,
            answer => answer?,
        };
        if !polled[0].revents().is_empty() {
            break;
        }
        if !polled[1].revents().is_empty() {
            kill(program.as_fd())?;
            engine = None;
        }
    }
    let ended = rustix::process::waitid(WaitId::PidFd(program.as_fd()), WaitIdOptions::EXITED)?;
    let ended = ended.ok_or(io::ErrorKind::NotFound)?;
    match (ended.exit_status(), ended.terminating_signal()) {
        (Some(code), _) => Ok(Report::Exited(code)),
        (None, Some(signal)) => Ok(Report::Signaled(signal)),
        (None, None) => Err(io::Error::other(
            "the program neither exited nor was killed",
        )),
    }
}

fn kill(program: BorrowedFd<'_>) -> io::Result<()> {
    match rustix::process::pidfd_send_signal(program, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// A handle on this process.
pub(super) fn this_process() -> io::Result<OwnedFd> {
    let own = rustix::process::getpid();
    Ok(rustix::process::pidfd_open(own, PidfdFlags::empty())?)
}

/// The container's programs get no descriptor of ours but the standard ones, and not the engine's socket among those.
pub(super) fn close_input() -> io::Result<()> {
    let null = File::open("/dev/null")?;
    Ok(rustix::stdio::dup2_stdin(&null)?)
}
