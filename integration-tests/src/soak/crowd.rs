//! Many builds at once in one daemon, which share what they stand on.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::workload::{Acknowledged, Small};
use crate::daemon::Daemon;
use crate::remains::remains;
use crate::sandbox::Sandbox;

/// What a crowd of builds saw.
#[derive(Debug)]
pub struct Report {
    /// Builds.
    pub builds: usize,
    /// How long all took together.
    pub took: Duration,
}

/// Runs `count` builds at once; all end well, within the time after which a client counts as stuck.
///
/// # Errors
/// When one fails or hangs, or something is left.
pub fn crowd(count: usize) -> Result<Report> {
    let sandbox = Sandbox::with_busybox()?;
    let daemon = Daemon::start(&sandbox)?;
    let begun = Instant::now();
    let mut clients = Vec::new();
    for number in 0..count {
        // Every second is one that another makes too.
        let build = Small::write_as(&sandbox, number, number - number % 2)?;
        clients.push(build.start(&sandbox, &[])?);
    }
    let mut done: Vec<Acknowledged> = Vec::new();
    for (number, client) in clients.into_iter().enumerate() {
        let ended = client.end().with_context(|| format!("build {number}"))?;
        done.push(ended.with_context(|| format!("build {number} failed"))?);
    }
    let took = begun.elapsed();
    for pair in done.chunks(2) {
        if let [first, second] = pair {
            ensure!(first.image() == second.image(), "equal builds differ");
        }
    }
    let left = remains(&sandbox)?;
    ensure!(left.is_empty(), "left behind: {left:#?}");
    daemon.stop()?;
    Ok(Report {
        builds: count,
        took,
    })
}
