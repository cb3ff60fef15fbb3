use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Signal, WaitId, WaitIdOptions};
use rustix::thread::ThreadNameSpaceType;

use super::child;
use crate::exec::config::NamespaceKind;
use crate::exec::protocol::{
    HELPER_NAME, Launch, Report, STARTED, SetupFailure, read_value, receive_launch, send_fds,
    write_value,
};
use crate::sys::{Fork, Namespaces, exit_now, fork_into};

/// Does the work of a container's helper and exits, if this process was started to be one; otherwise returns at once.
///
/// Call it before anything else in `main`: a helper must have one thread.
pub fn runner_main_if_asked() {
    if std::env::args_os()
        .next()
        .is_some_and(|name| name == HELPER_NAME)
    {
        let code = i32::from(help().is_err());
        std::process::exit(code);
    }
}

/// One container, from the engine's request to the report. An error means that there is nobody to report to.
fn help() -> io::Result<()> {
    let socket = UnixStream::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?);
    let (launch, fds) = receive_launch(&socket)?;
    let report = run(&socket, launch, fds);
    write_value(&socket, &report)
}

fn run(socket: &UnixStream, launch: Launch, fds: Vec<OwnedFd>) -> Report {
    let failed = |step: &str, error: io::Error| Report::Failed(SetupFailure::machine(step, error));
    let (status_read, status_write) =
        match rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC) {
            Ok(pipe) => pipe,
            Err(errno) => return failed("pipe", errno.into()),
        };
    let forked = match launch.joins_fd {
        None => fork_into(namespaces(&launch)),
        Some(index) => fork_beside(fds[index].as_fd()),
    };
    match forked {
        Err(error) => failed("clone3 into new namespaces", error),
        Ok(Fork::Child) => {
            let failure = child::become_program(&launch, fds, status_write.as_fd());
            // Nobody is left to tell where this write fails, too.
            let _ = write_value(File::from(status_write), &failure);
            exit_now(1)
        }
        Ok(Fork::Parent(container)) => {
            let announces = launch.announces;
            // The container's mounts end with it only if nobody else holds them.
            drop((launch, fds, status_write));
            watch(socket, &container, status_read, announces)
                .unwrap_or_else(|error| failed("watch the container", error))
        }
    }
}

/// Forks into the namespaces of a running container, but for its mounts: from there this process could not be counted.
fn fork_beside(container: BorrowedFd<'_>) -> io::Result<Fork> {
    let kinds = ThreadNameSpaceType::PROCESS_ID
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::CONTROL_GROUP;
    rustix::thread::move_into_thread_name_spaces(container, kinds)?;
    fork_into(Namespaces::default())
}

/// What the container gets at its birth; what it has to enter first is its own to leave.
fn namespaces(launch: &Launch) -> Namespaces {
    launch
        .config
        .linux
        .namespaces
        .iter()
        .fold(Namespaces::default(), |all, namespace| {
            all.with(match namespace.kind {
                NamespaceKind::Pid => Namespaces::PID,
                NamespaceKind::Mount => Namespaces::MOUNT,
                NamespaceKind::Ipc => Namespaces::IPC,
                NamespaceKind::Uts => Namespaces::UTS,
                NamespaceKind::Network if launch.network_fd.is_some() => Namespaces::default(),
                NamespaceKind::Network => Namespaces::NETWORK,
                // It begins at the group that the container is in, which it has yet to join.
                NamespaceKind::Cgroup => Namespaces::default(),
            })
        })
}

/// Waits for the container's first process, and kills it when the engine says so or is gone.
///
/// The kernel reports that process as ended only when every other process of its PID namespace is gone.
fn watch(
    socket: &UnixStream,
    container: &OwnedFd,
    status: OwnedFd,
    announces: bool,
) -> io::Result<Report> {
    let mut engine_listens = true;
    let mut is_starting = announces;
    loop {
        let ended = PollFd::new(container, PollFlags::IN);
        let engine = PollFd::new(socket, PollFlags::IN);
        let started = PollFd::new(&status, PollFlags::IN);
        let mut polled = vec![ended];
        if engine_listens {
            polled.push(engine);
        }
        if is_starting {
            polled.push(started);
        }
        match rustix::event::poll(&mut polled, None) {
            Err(rustix::io::Errno::INTR) => continue,
            answer => answer?,
        };
        if is_starting && let Some(status) = polled.last().map(PollFd::revents) {
            // The pipe closes when the program takes over; what could not be set up is said in it before.
            is_starting = status.is_empty();
            if !is_starting && !status.contains(PollFlags::IN) {
                send_fds(socket, STARTED, &[container.as_fd()])?;
            }
        }
        if !polled[0].revents().is_empty() {
            break;
        }
        if engine_listens && !polled[1].revents().is_empty() {
            engine_listens = false;
            kill(container.as_fd())?;
        }
    }
    let ended = rustix::process::waitid(WaitId::PidFd(container.as_fd()), WaitIdOptions::EXITED)?;
    if let Some(failure) = read_value(File::from(status))? {
        return Ok(Report::Failed(failure));
    }
    let ended = ended.ok_or(io::ErrorKind::NotFound)?;
    match (ended.exit_status(), ended.terminating_signal()) {
        (Some(code), _) => Ok(Report::Exited(code)),
        (None, Some(signal)) => Ok(Report::Signaled(signal)),
        (None, None) => Err(io::Error::other(
            "the container neither exited nor was killed",
        )),
    }
}

fn kill(container: BorrowedFd<'_>) -> io::Result<()> {
    match rustix::process::pidfd_send_signal(container, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
