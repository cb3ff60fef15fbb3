//! Builds that are cancelled at random moments while another shares a step with them.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rand::{Rng, rng};
use rustix::process::{Pid, Signal, kill_process};

use crate::daemon::Daemon;
use crate::measure::percentile;
use crate::remains::remains;
use crate::sandbox::{Sandbox, path};

/// After this a container counts as one that stays.
const STAYS: Duration = Duration::from_secs(60);

/// A variable that nothing else on the machine has; containers of cancelled builds are found by it.
const MARK: &str = "COOPER_CANCEL_MARK";

/// What a run of cancels saw.
#[derive(Debug)]
pub struct Report {
    /// How many builds were cancelled.
    pub cancels: usize,
    /// From the signal until no container of the build is left: the median, the 99th of 100, and the worst.
    pub gone_after: [Duration; 3],
}

/// Cancels `rounds` builds, each while another one that shares a step goes on, which must succeed.
///
/// # Errors
/// When a container stays, a shared build fails or has other content, or something is left at the end.
pub fn cancel(rounds: usize) -> Result<Report> {
    let sandbox = Sandbox::with_busybox()?;
    let mut daemon = Daemon::start(&sandbox)?;
    let mut gone = Vec::new();
    for round in 0..rounds {
        gone.push(cancel_one(&sandbox, round)?);
        ensure!(daemon.is_alive()?, "the daemon ended in round {round}");
    }
    let left = remains(&sandbox)?;
    ensure!(left.is_empty(), "left behind: {left:#?}");
    daemon.stop()?;
    let [middle, most, all] = [50, 99, 100].map(|percent| percentile(&gone, percent));
    Ok(Report {
        cancels: rounds,
        gone_after: [middle, most, all],
    })
}

fn cancel_one(sandbox: &Sandbox, round: usize) -> Result<Duration> {
    let shared = format!(
        "FROM busybox AS shared\nENV ROUND={round}\nRUN sleep 0.$((3 + {round} % 5)); echo {round} > /shared\n"
    );
    let mark = format!("{}-{round}", sandbox.state().display());
    let own = format!("FROM busybox AS own\nENV {MARK}={mark}\nRUN sleep 1000\n");
    let last = "FROM busybox\nCOPY --from=shared /shared /\n";
    let out = sandbox.path(&format!("out-{round}"));
    let doomed = format!("{shared}{own}{last}COPY --from=own /bin/sh /own\n");
    let mut doomed = start(sandbox, &format!("doomed-{round}"), &doomed, None)?;
    let kept = format!("{shared}{last}");
    let mut kept = start(sandbox, &format!("kept-{round}"), &kept, Some(&out))?;
    std::thread::sleep(Duration::from_millis(rng().random_range(0..1200)));
    listens(&mut doomed)?;
    let begun = Instant::now();
    let id = Pid::from_raw(doomed.id().cast_signed()).expect("a child has an id");
    kill_process(id, Signal::INT)?;
    while is_running(&mark)? || doomed.try_wait()?.is_none() {
        if begun.elapsed() > STAYS {
            doomed.kill()?;
            bail!("round {round}: a cancelled build's container stays");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let gone_after = begun.elapsed();
    let status = doomed.wait()?;
    ensure!(
        !status.success(),
        "round {round}: a cancelled build succeeded"
    );
    let status = kept.wait()?;
    let log = fs::read_to_string(sandbox.path(&format!("kept-{round}.log")))?;
    ensure!(
        status.success(),
        "round {round}: the other build fails:\n{log}"
    );
    let content = fs::read_to_string(out.join("shared"))?;
    ensure!(
        content.trim() == round.to_string(),
        "round {round}: {content:?}"
    );
    fs::remove_dir_all(out)?;
    Ok(gone_after)
}

fn start(sandbox: &Sandbox, name: &str, dockerfile: &str, out: Option<&PathBuf>) -> Result<Child> {
    let folder = sandbox.path(name);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("Dockerfile"), dockerfile)?;
    let mut command = sandbox.cooper(["build", "--progress", "plain", path(&folder)]);
    if let Some(out) = out {
        command.args(["-o", path(out)]);
    }
    command.stdout(Stdio::null());
    command.stderr(fs::File::create(folder.with_extension("log"))?);
    Ok(command.spawn()?)
}

/// Waits until a build listens for an interrupt. Who starts the tests in the background has them start processes that
/// ignore it, and then one that comes before is lost.
fn listens(build: &mut Child) -> Result<()> {
    let status = format!("/proc/{}/status", build.id());
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        let interrupt = 1 << (Signal::INT.as_raw() - 1);
        if caught.is_some_and(|mask| mask & interrupt != 0) || build.try_wait()?.is_some() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether a process has the mark in its environment.
fn is_running(mark: &str) -> Result<bool> {
    let wanted = format!("{MARK}={mark}");
    for entry in fs::read_dir("/proc")?.flatten() {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        if variables.any(|variable| variable == wanted.as_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}
