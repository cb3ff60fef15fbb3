//! Calls that fail: a full disk or a broken one under a daemon at work.

use anyhow::{Context, Result, bail, ensure};
use rand::seq::IndexedRandom;
use rand::{Rng, rng};

use super::workload::{Acknowledged, Small, strace};
use crate::daemon::Daemon;
use crate::remains::damaged_blobs;
use crate::sandbox::Sandbox;

/// Calls by which files are written and nothing else is: a `write` may as well go to what wakes a thread of ours, which
/// never fails so.
const CALLS: [&str; 4] = [
    "pwrite64,pwritev",
    "fsync,fdatasync,syncfs",
    "ftruncate,fallocate,copy_file_range",
    "rename,renameat,renameat2,mkdir,mkdirat",
];

/// What a run of faults saw.
#[derive(Debug, Default)]
pub struct Report {
    /// How many daemons had a call fail.
    pub faults: usize,
    /// Builds that failed, and those that did not.
    pub failed: usize,
    /// Builds that ended well beside them.
    pub succeeded: usize,
}

/// Lets one call fail in each of `rounds` daemons while three builds run: the daemon goes on, what fails names the
/// cause, what was acknowledged is there, and the next build works.
///
/// # Errors
/// What did not hold.
pub fn faults(rounds: usize) -> Result<Report> {
    let sandbox = Sandbox::with_busybox()?;
    let mut report = Report::default();
    let mut acknowledged: Vec<Acknowledged> = Vec::new();
    let mut number = 0;
    for round in 0..rounds {
        let error = ["ENOSPC", "EIO"][round % 2];
        let family = CALLS.choose(&mut rng()).expect("there are some");
        let nth = 1 + rng().random_range(0.0_f64..4.0).exp() as u32;
        let said = || format!("round {round}: {family} number {nth} fails with {error}");
        let before = strace(family, &format!("error={error}"), nth);
        report.faults += 1;
        let Some(mut daemon) = Daemon::start_under(&sandbox, &before)? else {
            // A start may fail when its disk does, and then says so.
            continue;
        };
        let mut clients = Vec::new();
        for _ in 0..3 {
            number += 1;
            clients.push(Small::write(&sandbox, number)?.start(&sandbox, &[])?);
        }
        for client in clients {
            match client.end().with_context(said)? {
                Some(done) => {
                    report.succeeded += 1;
                    acknowledged.push(done);
                }
                None => report.failed += 1,
            }
        }
        ensure!(daemon.is_alive()?, "{}: the daemon ended", said());
        acknowledged.push(next(&sandbox, &mut number).with_context(said)?);
        ensure!(daemon.is_alive()?, "{}: the daemon ended", said());
        daemon.kill()?;
        let sound = Daemon::start(&sandbox).with_context(said)?;
        for done in acknowledged.iter().rev().take(4) {
            // Its steps may run again: what a failing disk takes is a record that a build does without.
            done.is_there(&sandbox).with_context(said)?;
        }
        sound.kill()?;
        let (damaged, _) = damaged_blobs(&sandbox.state())?;
        ensure!(damaged.is_empty(), "{}: damaged blobs {damaged:?}", said());
    }
    Ok(report)
}

/// A build that ends well. Each thread of the daemon counts its calls and has one fail, so that some may not.
fn next(sandbox: &Sandbox, number: &mut usize) -> Result<Acknowledged> {
    for _ in 0..20 {
        *number += 1;
        let build = Small::write(sandbox, *number)?;
        if let Some(done) = build.start(sandbox, &[])?.end()? {
            return Ok(done);
        }
    }
    bail!("no build after it works")
}
