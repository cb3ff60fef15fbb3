//! Files of the state folder that are not what was written: bits turned, ends cut off.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rand::seq::IndexedRandom;
use rand::{Rng, rng};

use super::workload::Small;
use crate::daemon::Daemon;
use crate::remains::damaged_blobs;
use crate::sandbox::{Sandbox, base_busybox, path};

/// What a run of damages saw.
#[derive(Debug, Default)]
pub struct Report {
    /// Files that were damaged.
    pub damaged: usize,
    /// Builds whose image or base had to be brought in again.
    pub imported_again: usize,
    /// Exports that failed because a blob of the image was damaged, so that the next one made it anew.
    pub refused: usize,
}

/// Damages a file of the state folder, or takes a layer's directory away, `rounds` times. Each time the daemon starts by
/// itself, and a build gives a whole image with the right content; where it must be asked twice, the first answer names
/// the damage.
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
        let before = || format!("before round {round}");
        let whole = export(&sandbox, &build).with_context(before)?;
        layout(&sandbox, &build).with_context(before)?;
        daemon.stop()?;
        let file = spoil_any(&sandbox.state())?;
        report.damaged += 1;
        let said = || format!("round {round}: {} was damaged", file.display());
        let daemon = Daemon::start(&sandbox).with_context(said)?;
        if sandbox.run(["image", "inspect", "busybox"])?.code == 0 {
            let again = export(&sandbox, &build).with_context(said)?;
            ensure!(again == whole, "{}: the export is another", said());
            report.refused += usize::from(!layout(&sandbox, &build).with_context(said)?);
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

/// Exports the image as it would be pushed; whether the first try did it.
fn layout(sandbox: &Sandbox, build: &Small) -> Result<bool> {
    let out = sandbox.path("layout");
    let output = format!("type=oci,tar=false,dest={}", path(&out));
    let mut is_first = true;
    loop {
        let folder = path(build.folder());
        let exported = sandbox.run(["build", "--progress", "plain", "-o", &output, folder])?;
        if exported.code == 0 {
            let (damaged, count) = damaged_blobs(&out)?;
            ensure!(damaged.is_empty(), "served damaged blobs: {damaged:?}");
            ensure!(count > 2, "only {count} blobs were exported");
            fs::remove_dir_all(out)?;
            return Ok(is_first);
        }
        let says_why = exported.stderr.contains("damaged");
        ensure!(is_first && says_why, "not exported: {}", exported.stderr);
        is_first = false;
        if out.exists() {
            fs::remove_dir_all(&out)?;
        }
    }
}

/// Damages a file, or takes away the directory of a layer; says which.
fn spoil_any(state: &Path) -> Result<PathBuf> {
    let layers = fs::read_dir(state.join("layers"))?;
    let layers: Vec<_> = layers.map(|it| Ok(it?.path())).collect::<Result<_>>()?;
    if rng().random_bool(0.2)
        && let Some(layer) = layers.choose(&mut rng())
    {
        fs::remove_dir_all(layer)?;
        return Ok(layer.clone());
    }
    let files = files(state);
    let file = files
        .choose(&mut rng())
        .context("a state folder has files")?;
    spoil(file)?;
    Ok(file.clone())
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
