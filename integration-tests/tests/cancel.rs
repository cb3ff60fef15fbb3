//! A build that is stopped, by a signal or by force, leaves no process, no mount and a state that works.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use integration_tests::sandbox::{Sandbox, path};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags};

/// What a machine under load may take to end a container.
const PATIENCE: Duration = Duration::from_secs(30);

/// A build whose containers run and will not end by themselves.
struct Running {
    build: Child,
    stderr: BufReader<std::process::ChildStderr>,
    seen: String,
}

/// The containers' processes are found by a variable that nothing else on the machine has.
const MARK: &str = "COOPER_TEST_MARK";

fn start(sandbox: &Sandbox, stages: usize, marker: &str) -> Result<Running> {
    let context = sandbox.path("context");
    fs::create_dir_all(&context)?;
    let mut dockerfile = String::new();
    for stage in 0..stages {
        let script =
            format!("sleep 1000 & echo up-$((40 + {stage})); trap '' TERM INT; sleep 1000; wait");
        let mounts = "--mount=type=cache,target=/cache --mount=type=tmpfs,target=/t";
        dockerfile +=
            &format!("FROM busybox AS s{stage}\nENV {MARK}={marker}\nRUN {mounts} {script}\n");
    }
    dockerfile += "FROM busybox\n";
    for stage in 0..stages {
        dockerfile += &format!("COPY --from=s{stage} /bin/sh /s{stage}\n");
    }
    fs::write(context.join("Dockerfile"), dockerfile)?;
    let mut build = sandbox
        .cooper([
            "build",
            "--progress",
            "plain",
            "-t",
            "never",
            path(&context),
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let stderr = BufReader::new(build.stderr.take().context("stderr is piped")?);
    let mut running = Running {
        build,
        stderr,
        seen: String::new(),
    };
    for stage in 0..stages {
        // The command's own text has no such word: only its output does.
        running.wait_for(&format!("up-{}", 40 + stage))?;
    }
    Ok(running)
}

impl Running {
    fn wait_for(&mut self, text: &str) -> Result<()> {
        while !self.seen.contains(text) {
            let mut line = String::new();
            if self.stderr.read_line(&mut line)? == 0 {
                bail!("the build ended without {text:?}:\n{}", self.seen);
            }
            self.seen += &line;
        }
        Ok(())
    }

    fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill")
            .args(["-s", name, &self.build.id().to_string()])
            .status()?;
        ensure!(status.success(), "kill: {status}");
        Ok(())
    }

    /// Exit code (128 + n for signal n) and all that was printed.
    fn end(mut self) -> Result<(i32, String)> {
        use std::os::unix::process::ExitStatusExt;
        self.stderr.read_to_string(&mut self.seen)?;
        let status = self.build.wait()?;
        Ok((
            status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            self.seen,
        ))
    }
}

/// Processes inside containers of this marker: the shell and what it started, even before that is another program.
fn processes(marker: &str) -> Result<Vec<Pid>> {
    let wanted = format!("{MARK}={marker}");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let id = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
            .and_then(Pid::from_raw);
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if let Some(id) = id
            && environment
                .split(|byte| *byte == 0)
                .any(|variable| variable == wanted.as_bytes())
        {
            found.push(id);
        }
    }
    Ok(found)
}

fn build_works_again(sandbox: &Sandbox) -> Result<()> {
    let context = sandbox.path("again");
    fs::create_dir_all(&context)?;
    fs::write(
        context.join("Dockerfile"),
        "FROM busybox\nRUN --mount=type=cache,target=/cache echo fine > /fine\n",
    )?;
    sandbox.succeed([
        "build",
        "--progress",
        "plain",
        "-t",
        "again",
        path(&context),
    ])?;
    Ok(())
}

fn signalled(name: &str, stages: usize, marker: &str) -> Result<()> {
    let sandbox = Sandbox::with_busybox()?;
    let running = start(&sandbox, stages, marker)?;
    ensure!(processes(marker)?.len() >= 2 * stages, "the containers run");
    let begun = Instant::now();
    running.signal(name)?;
    let (code, output) = running.end()?;
    assert_eq!(code, 130, "{output}");
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!(processes(marker)?, []);
    assert_eq!(sandbox.leftovers()?, Vec::<String>::new());
    let half_made = fs::read_dir(sandbox.state().join("work"))?.count();
    assert_eq!(half_made, 0, "states that were being written are gone");
    build_works_again(&sandbox)
}

#[test]
fn interrupted_build_leaves_nothing_and_exits_with_130() -> Result<()> {
    signalled("INT", 1, "one")
}

#[test]
fn interrupt_ends_all_containers_of_a_wide_build() -> Result<()> {
    signalled("INT", 6, "many")
}

#[test]
fn containers_end_with_an_engine_that_was_killed() -> Result<()> {
    let marker = "killed";
    let sandbox = Sandbox::with_busybox()?;
    let running = start(&sandbox, 2, marker)?;
    let containers: Vec<OwnedFd> = processes(marker)?
        .into_iter()
        .filter_map(|id| rustix::process::pidfd_open(id, PidfdFlags::empty()).ok())
        .collect();
    ensure!(containers.len() >= 4, "the containers run");
    running.signal("KILL")?;
    let (code, _) = running.end()?;
    assert_eq!(code, 128 + 9);
    for container in &containers {
        let timeout = Timespec {
            tv_sec: PATIENCE.as_secs().cast_signed(),
            tv_nsec: 0,
        };
        let mut polled = [PollFd::new(container, PollFlags::IN)];
        assert_eq!(
            rustix::event::poll(&mut polled, Some(&timeout))?,
            1,
            "a process outlived the engine"
        );
    }
    assert_eq!(sandbox.leftovers()?, Vec::<String>::new());
    build_works_again(&sandbox)
}
