//! Files of the state folder that are not what was written: bits turned, ends cut off.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rand::seq::IndexedRandom;
use rand::{Rng, rng};

use super::workload::Small;
use crate::daemon::Daemon;
use crate::sandbox::{Sandbox, base_busybox, path};

/// What a run of damages saw.
#[derive(Debug, Default)]
pub struct Report {
    /// Files that were damaged.
    pub damaged: usize,
    /// Builds whose image or base had to be brought in again.
    pub imported_again: usize,
}

/// Damages a file of the state folder `rounds` times. Each time the daemon starts by itself, and a build gives a whole
/// image with the right content.
///
/// # Errors
/// What did not hold.
pub fn damage(rounds: usize) -> Result<Report> {
    let sandbox = Sandbox::with_busybox()?;
    let mut report = Report::default();
    let build = Small::write(&sandbox, 0)?;
    for round in 0..rounds {
        let daemon = Daemon::start(&sandbox)?;
        if sandbox.run(["image", "inspect", "busybox"])?.code != 0 {
            report.imported_again += 1;
            sandbox.succeed(["image", "import", path(&base_busybox()?), "busybox"])?;
        }
        let whole = export(&sandbox, &build).with_context(|| format!("before round {round}"))?;
        daemon.stop()?;
        let files = files(&sandbox.state());
        let file = files
            .choose(&mut rng())
            .context("a state folder has files")?;
        spoil(file)?;
        report.damaged += 1;
        let said = || format!("round {round}: {} was damaged", file.display());
        let daemon = Daemon::start(&sandbox).with_context(said)?;
        if sandbox.run(["image", "inspect", "busybox"])?.code == 0 {
            let again = export(&sandbox, &build).with_context(said)?;
            ensure!(again == whole, "{}: the export is another", said());
        }
        daemon.stop()?;
    }
    Ok(report)
}

/// Builds, and gives what of the root file system is not base.
fn export(sandbox: &Sandbox, build: &Small) -> Result<Vec<Vec<u8>>> {
    let out = sandbox.path("out");
    sandbox.succeed([
        "build",
        "--progress",
        "plain",
        "-o",
        path(&out),
        path(build.folder()),
    ])?;
    let names = ["done", "out/copy", "out/e/f", "bin/busybox"];
    let read = names.map(|name| fs::read(out.join(name)));
    let read = read.into_iter().collect::<std::io::Result<_>>()?;
    fs::remove_dir_all(out)?;
    Ok(read)
}

/// What is kept as files, but for what steps wrote: those are as any file of a file system.
fn files(state: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![state.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let kind = entry.file_type();
            let is_content = ["layers", "cachemounts"]
                .iter()
                .any(|name| entry.file_name() == *name);
            match kind {
                Ok(kind) if kind.is_dir() && !is_content => open.push(entry.path()),
                Ok(kind) if kind.is_file() && entry.metadata().is_ok_and(|it| it.len() > 0) => {
                    found.push(entry.path());
                }
                _ => {}
            }
        }
    }
    found.sort();
    found
}

fn spoil(file: &Path) -> Result<()> {
    let length = fs::metadata(file)?.len();
    let at = rng().random_range(0..length);
    let opened = fs::OpenOptions::new().read(true).write(true).open(file)?;
    if rng().random_bool(0.3) {
        opened.set_len(at)?;
    } else {
        let mut byte = [0];
        opened.read_exact_at(&mut byte, at)?;
        byte[0] ^= 1 << rng().random_range(0..8);
        opened.write_all_at(&byte, at)?;
    }
    Ok(())
}
