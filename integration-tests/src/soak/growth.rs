//! Many small builds in one process: what it uses must not grow with them.

use std::fs;

use anyhow::{Result, ensure};

use crate::daemon::Daemon;
use crate::measure::{Usage, slope};
use crate::remains::remains;
use crate::sandbox::{Sandbox, path};

/// Builds between two looks.
const EVERY: usize = 10;

/// What a run of builds saw.
#[derive(Debug)]
pub struct Report {
    /// Builds in all.
    pub builds: usize,
    /// After the first tenth.
    pub early: Usage,
    /// At the end.
    pub late: Usage,
    /// How memory grew after the first tenth, by least squares.
    ///
    /// # Units
    /// KiB for 100 builds.
    pub memory_growth: f64,
}

/// Makes `count` builds that are not in the cache.
///
/// # Errors
/// When a build fails, when descriptors, threads or mounts grow, or something is left at the end.
pub fn growth(count: usize) -> Result<Report> {
    let sandbox = Sandbox::with_busybox()?;
    let daemon = Daemon::start(&sandbox)?;
    let mut seen = Vec::new();
    for number in 1..=count {
        build(&sandbox, number)?;
        if number % EVERY == 0 {
            seen.push((number, Usage::of(daemon.id())?));
        }
    }
    let later = &seen[seen.len() / 10..];
    let points: Vec<(f64, f64)> = later
        .iter()
        .map(|(number, usage)| (*number as f64, usage.memory as f64))
        .collect();
    let (Some((_, early)), Some((_, late))) = (later.first(), later.last()) else {
        anyhow::bail!("too few builds to say anything");
    };
    // Runtimes keep threads and their descriptors for a while: a few more or less mean nothing, a few for each build do.
    let slack = count / 10;
    ensure!(
        late.descriptors <= early.descriptors + slack,
        "descriptors grow: {early:?} {late:?}"
    );
    ensure!(
        late.threads <= early.threads + slack,
        "threads grow: {early:?} {late:?}"
    );
    ensure!(
        late.mounts <= early.mounts + 3,
        "mounts grow: {early:?} {late:?}"
    );
    let left = remains(&sandbox)?;
    ensure!(left.is_empty(), "left behind: {left:#?}");
    let report = Report {
        builds: count,
        early: *early,
        late: *late,
        memory_growth: 100.0 * slope(&points),
    };
    daemon.stop()?;
    Ok(report)
}

fn build(sandbox: &Sandbox, number: usize) -> Result<()> {
    let folder = sandbox.path("small");
    fs::create_dir_all(&folder)?;
    let text = format!("FROM busybox\nCOPY Dockerfile /\nRUN echo {number} > /number\n");
    fs::write(folder.join("Dockerfile"), text)?;
    sandbox.succeed(["build", "--progress", "plain", "-t", "small", path(&folder)])?;
    Ok(())
}
