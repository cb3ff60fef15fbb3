//! Calls that fail: a full disk or a broken one under a daemon at work.

use anyhow::{Context, Result, bail, ensure};
use rand::seq::IndexedRandom;
use rand::{Rng, rng};

use super::workload::{Acknowledged, Small, strace};
use crate::daemon::Daemon;
use crate::remains::damaged_blobs;
use crate::sandbox::{Sandbox, path};

/// By a `write` blobs arrive. It may as well go to what wakes a thread of ours (an eventfd), which never fails so, and
/// which a runtime takes for its own end if it does: only those to files that arrive are failed.
const WRITE: &str = "write,writev";

/// So many files that arrive are watched.
const ARRIVING: usize = 300;

/// Calls by which files are written, and nothing else is but by [`WRITE`].
const CALLS: [&str; 5] = [
    WRITE,
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
    /// Those among them that were told that a step could not be recorded.
    pub unrecorded: usize,
}

/// Lets one call fail in each of `rounds` daemons while three builds run: the daemon goes on, what was acknowledged is
/// there and builds again without running a step, unless the build was told otherwise, and the next build works.
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
        let mut before = strace(family, &format!("error={error}"), nth);
        if *family == WRITE {
            let arriving = sandbox.state().join("ingest");
            for number in 0..ARRIVING {
                let file = arriving.join(number.to_string());
                before.extend(["-P".into(), path(&file).to_owned()]);
            }
        }
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
                    report.unrecorded += usize::from(!done.is_recorded());
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
            // A build that is told that a step could not be recorded has its image nonetheless.
            match done.is_recorded() {
                true => done.verify(&sandbox).with_context(said)?,
                false => done.is_there(&sandbox).with_context(said)?,
            }
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
