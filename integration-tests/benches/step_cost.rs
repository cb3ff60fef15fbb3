//! What a RUN costs beyond its command: a chain of steps that each run `true`, its snapshots and records included, from an
//! empty state on a disk.
//!
//!     cargo build --release -p cooper && cargo bench -p integration-tests --bench step_cost [-- ROUNDS]

#![expect(clippy::print_stdout, reason = "a benchmark's table is its output")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration_tests::sandbox::{Sandbox, path};

/// Steps of the long chain; the short one has one, so that the difference has neither start nor export.
const STEPS: usize = 101;

fn chain(steps: usize, context: &Path) -> Result<Duration> {
    let lines = (0..steps).map(|step| format!("RUN [\"/bin/true\", \"{step}\"]\n"));
    let dockerfile = format!("FROM busybox\n{}", lines.collect::<String>());
    fs::write(context.join("Dockerfile"), dockerfile)?;
    let sandbox = Sandbox::with_busybox()?;
    let start = Instant::now();
    sandbox.succeed(["build", "--progress", "quiet", path(context)])?;
    Ok(start.elapsed())
}

/// The same commands on the machine itself.
fn commands(count: usize) -> Result<Duration> {
    let start = Instant::now();
    for _ in 0..count {
        ensure!(Command::new("/bin/busybox").arg("true").status()?.success());
    }
    Ok(start.elapsed())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() -> Result<()> {
    let rounds = std::env::args()
        .filter_map(|word| word.parse().ok())
        .next()
        .unwrap_or(5);
    let folder = tempfile::tempdir()?;
    let (mut steps, mut alone) = (Vec::new(), Vec::new());
    let each = |time: Duration| time.as_secs_f64() * 1000.0 / (STEPS - 1) as f64;
    for _ in 0..rounds {
        let short = chain(1, folder.path())?;
        let long = chain(STEPS, folder.path())?;
        steps.push(each(long.saturating_sub(short)));
        alone.push(each(commands(STEPS - 1)?));
    }
    println!("a step, in milliseconds: {steps:.2?}; its command alone: {alone:.2?}");
    let (steps, alone) = (median(steps), median(alone));
    println!(
        "median: {steps:.2} ms, the command {alone:.2} ms, so that a RUN costs {:.2} ms beyond it",
        steps - alone
    );
    Ok(())
}
