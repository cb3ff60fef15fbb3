use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Signal, WaitId, WaitIdOptions};
use rustix::thread::ThreadNameSpaceType;

use super::{child, other};
use crate::exec::config::NamespaceKind;
use crate::exec::protocol::{
    HELPER_NAME, Launch, OtherLaunch, Report, STARTED, SetupFailure, read_value, receive_launch,
    send_fds, write_value,
};
use crate::sys::{Fork, Namespaces, exit_now, fork_into};
use crate::userns::Identity;

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

fn run(socket: &UnixStream, mut launch: Launch, fds: Vec<OwnedFd>) -> Report {
    let failed = |step: &str, error: io::Error| Report::Failed(SetupFailure::machine(step, error));
    let (status_read, status_write) =
        match rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC) {
            Ok(pipe) => pipe,
            Err(errno) => return failed("pipe", errno.into()),
        };
    let forked = match (launch.joins_fd, &launch.other) {
        (None, None) => fork_into_group(&mut launch, &fds),
        (Some(index), None) => fork_beside(fds[index].as_fd()),
        (None, Some(_)) => fork_into(Namespaces::PID.with(Namespaces::MOUNT), None),
        (Some(index), Some(_)) => fork_within(fds[index].as_fd()),
    };
    match forked {
        Err(error) => failed("clone3 into new namespaces", error),
        Ok(Fork::Child) => {
            let report = match &launch.other {
                None => Report::Failed(child::become_program(&launch, fds, status_write.as_fd())),
                Some(runtime) => have_run(&launch, runtime, &fds, socket, status_write.as_fd()),
            };
            // Nobody is left to tell where this write fails, too.
            let _ = write_value(File::from(status_write), &report);
            exit_now(1)
        }
        Ok(Fork::Parent(container)) => {
            let duty = Duty {
                announces: launch.announces && launch.other.is_none(),
                kills: launch.joins_fd.is_none() || launch.other.is_none(),
            };
            // The container's mounts end with it only if nobody else holds them.
            drop((launch, fds, status_write));
            watch(socket, &container, status_read, duty)
                .unwrap_or_else(|error| failed("watch the container", error))
        }
    }
}

/// Forks into a container's own namespaces, and into its control group of version 2 where the kernel can; then that one
/// is joined.
fn fork_into_group(launch: &mut Launch, fds: &[OwnedFd]) -> io::Result<Fork> {
    if let Some(group) = launch.birth_group.take() {
        let joined_later = std::mem::take(&mut launch.cgroup_fds);
        let others = joined_later.iter().copied();
        launch.cgroup_fds = others.filter(|fd| *fd != group.processes_fd).collect();
        match fork_into(namespaces(launch), Some(fds[group.directory_fd].as_fd())) {
            Err(_) => launch.cgroup_fds = joined_later,
            forked => return forked,
        }
    }
    fork_into(namespaces(launch), None)
}

/// In a user namespace, a container's network and view of control groups may be those outside, which cannot be entered
/// from here. This process is in them already: whatever a container has for itself was made in the user namespace.
fn join_those_of_a_user(container: BorrowedFd<'_>) -> io::Result<()> {
    let own = ThreadNameSpaceType::PROCESS_ID
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME;
    rustix::thread::move_into_thread_name_spaces(container, own)?;
    for kind in [
        ThreadNameSpaceType::NETWORK,
        ThreadNameSpaceType::CONTROL_GROUP,
    ] {
        match rustix::thread::move_into_thread_name_spaces(container, kind) {
            Ok(()) | Err(rustix::io::Errno::PERM) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Forks into the namespaces of a running container, but for its mounts: from there this process could not be counted.
fn fork_beside(container: BorrowedFd<'_>) -> io::Result<Fork> {
    let kinds = ThreadNameSpaceType::PROCESS_ID
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::CONTROL_GROUP;
    match rustix::thread::move_into_thread_name_spaces(container, kinds) {
        Err(rustix::io::Errno::PERM) if Identity::of_this_process().is_mapped() => {
            join_those_of_a_user(container)?;
        }
        answer => answer?,
    }
    fork_into(Namespaces::default(), None)
}

/// Forks into the process namespace in which another runtime made a container. Its mounts are the child's to join: from
/// there this process could not be counted.
fn fork_within(place: BorrowedFd<'_>) -> io::Result<Fork> {
    rustix::thread::move_into_thread_name_spaces(place, ThreadNameSpaceType::PROCESS_ID)?;
    fork_into(Namespaces::default(), None)
}

/// Has another runtime do it all.
fn have_run(
    launch: &Launch,
    runtime: &OtherLaunch,
    fds: &[OwnedFd],
    engine: &UnixStream,
    status: BorrowedFd<'_>,
) -> Report {
    if let Err(error) = child::die_with_helper(status) {
        return Report::Failed(SetupFailure::machine("bind to the helper's life", error));
    }
    match launch.joins_fd {
        None => other::run_first(launch, runtime, fds, engine),
        Some(index) => other::run_further(launch, runtime, fds, index, engine),
    }
}

/// What a helper does for its child.
#[derive(Debug, Clone, Copy)]
struct Duty {
    /// It says when the program runs.
    announces: bool,
    /// It kills the child when the engine says so.
    kills: bool,
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
    duty: Duty,
) -> io::Result<Report> {
    let mut engine_listens = duty.kills;
    let mut is_starting = duty.announces;
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
    if let Some(report) = read_value(File::from(status))? {
        return Ok(report);
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
