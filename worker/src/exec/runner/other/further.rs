use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::thread::ThreadNameSpaceType;

use super::bundle::{self, CONTAINER};
use super::command::Call;
use super::program::{Console, close_input, started, wait};
use crate::exec::protocol::{Launch, OtherLaunch, Report, STARTED, SetupFailure, send_fds};

/// Has the runtime run a further program in a container. This process is in the process namespace around it, and joins the
/// mounts of the one that `place` refers to.
pub(in crate::exec::runner) fn run_further(
    launch: &Launch,
    other: &OtherLaunch,
    fds: &[OwnedFd],
    place: usize,
    engine: &UnixStream,
) -> Report {
    run(launch, other, fds, place, engine).unwrap_or_else(Report::Failed)
}

fn run(
    launch: &Launch,
    other: &OtherLaunch,
    fds: &[OwnedFd],
    place: usize,
    engine: &UnixStream,
) -> Result<Report, SetupFailure> {
    let machine = |step: &'static str| move |error| SetupFailure::machine(step, error);
    close_input().map_err(machine("close the input"))?;
    rustix::thread::move_into_thread_name_spaces(fds[place].as_fd(), ThreadNameSpaceType::MOUNT)
        .map_err(|errno| SetupFailure::machine("join the bundle's mounts", errno))?;
    rustix::process::chdir(&other.folder)
        .map_err(|errno| SetupFailure::machine("enter the bundle", errno))?;
    // What the runtime leaves behind becomes ours to wait for.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|errno| SetupFailure::machine("adopt the program", errno))?;
    let call = Call {
        other,
        tag: rustix::process::getpid().as_raw_nonzero().to_string(),
    };
    let console = Console::listen(&call, launch.input, fds)?;
    let [process, pid, socket] = ["process", "pid", "console"].map(|name| call.file(name));
    bundle::write(&process, &bundle::process(&launch.config, launch.input)?)?;
    let mut exec = vec![
        "exec",
        "--detach",
        "--process",
        &process,
        "--pid-file",
        &pid,
    ];
    if console.is_some() {
        exec.extend(["--console-socket", &socket]);
    }
    exec.push(CONTAINER);
    let ran = call.run(&exec, launch.input, fds);
    let program = ran.and_then(|()| started(&call));
    let handed = program.and_then(|program| {
        console.map_or(Ok(()), Console::hand_on)?;
        Ok(program)
    });
    // They are of no use to the container's next programs.
    for name in [&process, &pid, &socket, &call.file("log")] {
        let _missing = std::fs::remove_file(name);
    }
    let program = handed?;
    send_fds(engine, STARTED, &[program.as_fd()]).map_err(machine("announce the program"))?;
    wait(&program, Some(engine)).map_err(machine("wait for the program"))
}
