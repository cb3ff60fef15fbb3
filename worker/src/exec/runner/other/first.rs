use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use super::bundle::{self, CONTAINER};
use super::command::Call;
use super::program::{Console, close_input, started, this_process, wait};
use crate::exec::protocol::{Launch, OtherLaunch, Report, STARTED, SetupFailure, send_fds};

/// Has the runtime make a container and run its first program, as the first process of a PID namespace with own mounts.
pub(in crate::exec::runner) fn run_first(
    launch: &Launch,
    other: &OtherLaunch,
    fds: &[OwnedFd],
    engine: &UnixStream,
) -> Report {
    run(launch, other, fds, engine).unwrap_or_else(Report::Failed)
}

fn run(
    launch: &Launch,
    other: &OtherLaunch,
    fds: &[OwnedFd],
    engine: &UnixStream,
) -> Result<Report, SetupFailure> {
    let machine = |step: &'static str| move |error| SetupFailure::machine(step, error);
    close_input().map_err(machine("close the input"))?;
    bundle::make(launch, other, fds)?;
    let call = Call {
        other,
        tag: String::from("first"),
    };
    let console = Console::listen(&call, launch.input, fds)?;
    let (pid, socket) = (call.file("pid"), call.file("console"));
    let mut create = vec!["create", "--bundle", ".", "--pid-file", &pid];
    if console.is_some() {
        create.extend(["--console-socket", &socket]);
    }
    create.push(CONTAINER);
    call.run(&create, launch.input, fds)?;
    let program = started(&call)?;
    console.map_or(Ok(()), Console::hand_on)?;
    let starts = Call {
        other,
        tag: String::from("start"),
    };
    starts.run(
        &["start", CONTAINER],
        crate::exec::protocol::LaunchInput::Nothing,
        fds,
    )?;
    if launch.announces {
        let told = this_process()
            .and_then(|own| send_fds(engine, STARTED, &[program.as_fd(), own.as_fd()]));
        told.map_err(machine("announce the program"))?;
    }
    // The engine's word reaches the helper, which ends this process and with it all.
    wait(&program, None).map_err(machine("wait for the program"))
}
