//! `kill -9` at random moments and at the nth system call, and what must hold afterwards.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::seq::IndexedRandom;
use rand::{Rng, rng};

use super::workload::{Acknowledged, Client, Small, strace};
use crate::daemon::Daemon;
use crate::remains::{damaged_blobs, remains};
use crate::sandbox::Sandbox;

/// Calls by which state changes, a family each.
const FAMILIES: [&str; 6] = [
    "write,pwrite64,writev,pwritev",
    "fsync,fdatasync,syncfs",
    "rename,renameat,renameat2",
    "mount,fsconfig,fsmount,move_mount,mount_setattr,open_tree",
    "clone,clone3,unshare,setns",
    "unlink,unlinkat,mkdir,mkdirat,rmdir",
];

/// How many builds run when a daemon is killed.
const AT_ONCE: usize = 3;

/// How many of what was acknowledged before are looked at after each kill; at the end all are.
const LOOKED_AT: usize = 3;

/// What a run of kills saw.
#[derive(Debug, Default)]
pub struct Report {
    /// How often something was killed.
    pub kills: usize,
    /// Builds that were acknowledged.
    pub acknowledged: usize,
    /// Builds that the kills ended.
    pub ended: usize,
    /// Blobs at the end.
    pub blobs: usize,
    /// The slowest start after a kill.
    pub slowest_start: Duration,
}

/// What is killed, and how.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// The daemon, after a time.
    Daemon,
    /// The daemon, at a call.
    DaemonCall,
    /// A build with the engine in it, after a time.
    Embedded,
    /// The same, at a call.
    EmbeddedCall,
}

/// Kills `rounds` times and checks after each that nothing was lost and nothing is left.
///
/// # Errors
/// What was lost or left.
pub fn crash(rounds: usize) -> Result<Report> {
    let sandbox = Sandbox::with_busybox()?;
    let mut run = Run {
        sandbox: &sandbox,
        next: 0,
        usual: Duration::from_secs(1),
        acknowledged: Vec::new(),
        report: Report::default(),
    };
    let kinds = [
        Kind::Daemon,
        Kind::DaemonCall,
        Kind::Embedded,
        Kind::EmbeddedCall,
    ];
    let mut daemon = run.checked_start()?;
    // One build in peace: how long it takes says when to kill.
    let begun = Instant::now();
    run.builds(1, &[])?.into_iter().try_for_each(|client| {
        let done = client.end()?.context("a build without a kill fails")?;
        run.acknowledged.push(done);
        anyhow::Ok(())
    })?;
    run.usual = begun.elapsed();
    for round in 0..rounds {
        let kind = kinds[round % kinds.len()];
        run.round(kind, daemon)
            .with_context(|| format!("round {round}, {kind:?}"))?;
        run.report.kills += 1;
        daemon = run
            .checked_start()
            .with_context(|| format!("after round {round}, {kind:?}"))?;
    }
    for done in &run.acknowledged {
        done.verify(&sandbox)?;
    }
    daemon.stop()?;
    run.report.acknowledged = run.acknowledged.len();
    let (damaged, count) = damaged_blobs(&sandbox.state())?;
    ensure!(damaged.is_empty(), "damaged blobs: {damaged:?}");
    run.report.blobs = count;
    Ok(run.report)
}

struct Run<'a> {
    sandbox: &'a Sandbox,
    next: usize,
    /// How long builds take without a kill.
    usual: Duration,
    acknowledged: Vec<Acknowledged>,
    report: Report,
}

impl Run<'_> {
    fn builds(&mut self, count: usize, before: &[String]) -> Result<Vec<Client>> {
        let mut clients = Vec::new();
        for _ in 0..count {
            self.next += 1;
            let build = Small::write(self.sandbox, self.next)?;
            clients.push(build.start(self.sandbox, before)?);
        }
        Ok(clients)
    }

    fn a_while(&self) -> Duration {
        self.usual.mul_f64(rng().random_range(0.0..1.5))
    }

    fn round(&mut self, kind: Kind, daemon: Daemon) -> Result<()> {
        match kind {
            Kind::Daemon => {
                let clients = self.builds(AT_ONCE, &[])?;
                std::thread::sleep(self.a_while());
                daemon.kill()?;
                self.end(clients)
            }
            Kind::DaemonCall => {
                daemon.kill()?;
                // One that dies while it starts is a kill too.
                let daemon = Daemon::start_under(self.sandbox, &kill_at_a_call())?;
                let clients = self.builds(AT_ONCE, &[])?;
                self.end(clients)?;
                daemon.map_or(Ok(()), Daemon::kill)
            }
            Kind::Embedded => {
                daemon.kill()?;
                let clients = self.builds(1, &[])?;
                std::thread::sleep(self.a_while());
                clients.into_iter().try_for_each(Client::kill)
            }
            Kind::EmbeddedCall => {
                daemon.kill()?;
                let clients = self.builds(1, &kill_at_a_call())?;
                self.end(clients)
            }
        }
    }

    fn end(&mut self, clients: Vec<Client>) -> Result<()> {
        for client in clients {
            match client.end()? {
                Some(done) => self.acknowledged.push(done),
                None => self.report.ended += 1,
            }
        }
        Ok(())
    }

    /// Starts a daemon and checks all that must hold then.
    fn checked_start(&mut self) -> Result<Daemon> {
        let daemon = Daemon::start(self.sandbox)?;
        self.report.slowest_start = self.report.slowest_start.max(daemon.ready_after);
        let left = remains(self.sandbox)?;
        ensure!(left.is_empty(), "left behind: {left:#?}");
        let (damaged, _) = damaged_blobs(&self.sandbox.state())?;
        ensure!(damaged.is_empty(), "damaged blobs: {damaged:?}");
        let newest = self.acknowledged.iter().rev().take(LOOKED_AT);
        let older = self.acknowledged.choose_multiple(&mut rng(), LOOKED_AT);
        for done in newest.chain(older) {
            done.verify(self.sandbox)?;
        }
        Ok(daemon)
    }
}

fn kill_at_a_call() -> Vec<String> {
    let family = FAMILIES.choose(&mut rng()).expect("there are some");
    // Few calls of a thread are early, and most of the interesting ones are.
    let nth = 1 + rng().random_range(0.0_f64..5.0).exp() as u32;
    strace(family, "signal=KILL", nth)
}
