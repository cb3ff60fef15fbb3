//! What a state folder's engine left on the machine and on its disk.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::sandbox::Sandbox;

/// How long processes may take to die of their parent's death, and a daemon to write down how its builds ended.
const SETTLING: Duration = Duration::from_secs(10);

/// Mounts, containers, control groups and half-made files of a state folder that stay; empty when nothing was left.
///
/// # Errors
/// When the tables of the machine cannot be read.
pub fn remains(sandbox: &Sandbox) -> Result<Vec<String>> {
    let begun = Instant::now();
    loop {
        let found = now(sandbox)?;
        if found.is_empty() || begun.elapsed() > SETTLING {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn now(sandbox: &Sandbox) -> Result<Vec<String>> {
    let mut found = sandbox.leftovers()?;
    found.extend(
        groups(sandbox)?
            .iter()
            .map(|group| format!("control group {}", group.display())),
    );
    for folder in ["work", "ingest"] {
        let folder = sandbox.state().join(folder);
        for entry in fs::read_dir(&folder)
            .with_context(|| folder.display().to_string())?
            .flatten()
        {
            found.push(format!("half-made {}", entry.path().display()));
        }
    }
    Ok(found)
}

/// Control groups of steps of this state folder.
///
/// # Errors
/// When the machine's cannot be listed.
pub fn groups(sandbox: &Sandbox) -> Result<Vec<PathBuf>> {
    let name = group_name(&sandbox.state())?;
    let of_step = |folder: &Path, own: &str| {
        folder.file_name().is_some_and(|it| *it == *name) || own.starts_with(&format!("{name}-"))
    };
    Ok(groups_that(of_step))
}

/// Control groups that an engine on a state folder made for those of its steps.
///
/// # Errors
/// When the machine's cannot be listed.
pub fn engine_groups(state: &Path) -> Result<Vec<PathBuf>> {
    let name = group_name(state)?;
    Ok(groups_that(|_, own| own == name))
}

fn group_name(state: &Path) -> Result<String> {
    let state = fs::canonicalize(state)?;
    let hash = Sha256::digest(state.as_os_str().as_encoded_bytes());
    let instance: String = hash[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("cooper-{instance}"))
}

/// The machine's control groups of which the folder and the own name are wanted.
fn groups_that(wanted: impl Fn(&Path, &str) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
    while let Some((folder, depth)) = open.pop() {
        // Groups come and go while they are listed.
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if wanted(&folder, &entry.file_name().to_string_lossy()) {
                found.push(entry.path());
            } else if depth < 6 {
                open.push((entry.path(), depth + 1));
            }
        }
    }
    found
}

/// Blobs whose bytes are not what they are called by, and how many blobs there are.
///
/// # Errors
/// When a blob cannot be read.
pub fn damaged_blobs(state: &Path) -> Result<(Vec<PathBuf>, usize)> {
    let mut damaged = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(state.join("blobs/sha256"))? {
        let path = entry?.path();
        let mut file = match fs::File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            file => file?,
        };
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => hasher.update(&buffer[..read]),
            }
        }
        let found: String = hasher
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        count += 1;
        if path.file_name().is_none_or(|name| *name != *found) {
            damaged.push(path);
        }
    }
    Ok((damaged, count))
}
