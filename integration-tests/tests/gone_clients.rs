//! Clients that are killed while their builds run take their containers with them, unless somebody else wants the step.
//!
//! `COOPER_TRIES=200 cargo test -p integration-tests --test gone_clients -- --nocapture` says how long that takes.

use std::fs;
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration_tests::gate::{Gate, client, open_daemon};
use integration_tests::sandbox::{Sandbox, finish, path};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags};

/// What a machine under load may take to end a container.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tries when nobody says how many.
const TRIES: usize = 10;

/// The containers' processes are found by a variable that nothing else on the machine has.
const MARK: &str = "COOPER_TEST_GONE";

/// The processes of containers that are marked so.
fn processes(mark: &str) -> Result<Vec<OwnedFd>> {
    let wanted = format!("{MARK}={mark}");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| name.parse().ok());
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let is_marked = environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == wanted.as_bytes());
        if let Some(id) = id.and_then(Pid::from_raw).filter(|_| is_marked)
            && let Ok(process) = rustix::process::pidfd_open(id, PidfdFlags::empty())
        {
            found.push(process);
        }
    }
    Ok(found)
}

/// The step's shell and what it runs, once both can be seen: one that is becoming another program has no variables.
fn both(mark: &str) -> Result<Vec<OwnedFd>> {
    let begun = Instant::now();
    loop {
        let found = processes(mark)?;
        if found.len() >= 2 {
            return Ok(found);
        }
        let count = found.len();
        ensure!(begun.elapsed() < PATIENCE, "the step has {count} processes");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until all of them have ended.
fn ended(processes: &[OwnedFd]) -> Result<()> {
    let limit = Timespec {
        tv_sec: PATIENCE.as_secs().cast_signed(),
        tv_nsec: 0,
    };
    for process in processes {
        let mut polled = [PollFd::new(process, PollFlags::IN)];
        let ready = rustix::event::poll(&mut polled, Some(&limit))?;
        ensure!(ready == 1, "a container outlived its client");
    }
    Ok(())
}

/// A client that builds a step of its own, or one that others of the same mark build too.
fn start(sandbox: &Sandbox, gate: &Gate, mark: &str) -> Result<Child> {
    let context = sandbox.path(mark);
    fs::create_dir_all(&context)?;
    let wait = gate.command()?;
    // A child that nobody waits for, a signal that is not heeded, and mounts: all of it is to go.
    let script = format!("trap '' TERM INT HUP; sleep 1000 & {wait}");
    let mounts = "--mount=type=cache,target=/cache --mount=type=tmpfs,target=/t";
    let dockerfile = format!("FROM busybox\nENV {MARK}={mark}\nRUN {mounts} {script}\n");
    fs::write(context.join("Dockerfile"), dockerfile)?;
    let mut command = client(sandbox, &["build", "--progress=plain", path(&context)]);
    let command = command.stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().context("starting cooper")
}

#[expect(clippy::disallowed_methods, reason = "a test has no command line")]
fn tries() -> Result<usize> {
    let tries = std::env::var("COOPER_TRIES").ok();
    Ok(tries.map_or(Ok(TRIES), |tries| tries.parse())?)
}

#[test]
fn a_killed_client_s_containers_are_gone() -> Result<()> {
    let tries = tries()?;
    let sandbox = Sandbox::new()?;
    let daemon = open_daemon(&sandbox, &[])?;
    let gate = Gate::new()?;
    let mut took = Vec::new();
    for number in 0..tries {
        let mark = format!("alone-{number}");
        let mut build = start(&sandbox, &gate, &mark)?;
        let _held = gate.reached()?;
        let processes = both(&mark)?;
        let killed = Instant::now();
        build.kill()?;
        ended(&processes)?;
        took.push(killed.elapsed());
        build.wait()?;
    }
    took.sort_unstable();
    let place = |percent: usize| took[(took.len() * percent).div_ceil(100).max(1) - 1];
    eprintln!(
        "{tries} clients killed; their containers were gone after {:?} (median), {:?} (p99), {:?} (longest)",
        place(50),
        place(99),
        place(100)
    );
    daemon.signal(rustix::process::Signal::TERM)?;
    let (status, log) = daemon.wait()?;
    ensure!(status.success(), "{status}\n{log}");
    assert_eq!(sandbox.leftovers()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn a_step_that_another_client_wants_goes_on() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let _daemon = open_daemon(&sandbox, &[])?;
    let gate = Gate::new()?;
    let mut first = start(&sandbox, &gate, "shared")?;
    let held = gate.reached()?;
    let processes = processes("shared")?;
    let mut second = start(&sandbox, &gate, "shared")?;
    // The other one sees the step's own vertex start, and no second step reaches the gate.
    let mut seen = std::io::BufReader::new(second.stderr.take().context("it is piped")?);
    let mut line = String::new();
    while !line.contains("RUN --mount") {
        line.clear();
        let length = std::io::BufRead::read_line(&mut seen, &mut line)?;
        ensure!(length > 0, "the second build ended early");
    }
    first.kill()?;
    first.wait()?;
    let mut polled = [PollFd::new(&processes[0], PollFlags::IN)];
    let now = Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    assert_eq!(
        rustix::event::poll(&mut polled, Some(&now))?,
        0,
        "the step ended with its first client"
    );
    // `sleep` is still there: the shell does not wait for it, so the step ends with what waits at the gate.
    drop(held);
    std::io::copy(&mut seen, &mut std::io::sink())?;
    let second = finish(second.wait_with_output()?)?;
    assert_eq!(second.code, 0, "the build that goes on failed");
    Ok(())
}
