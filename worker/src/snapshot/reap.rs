//! Cleaning up at the start what an earlier process left when it was killed.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use rustix::mount::UnmountFlags;

use super::SnapshotError;
use crate::{
    confine::Root,
    meta::{LayerId, Meta},
    userns::Identity,
};

/// Unmounts whatever is mounted below the state folder. We mount nothing there; who ran an
/// older version or a debugger may have.
pub(super) fn stale_mounts(state: &Path) -> Result<(), SnapshotError> {
    if Identity::of_this_process().is_mapped() {
        // What an earlier process mounted went with its namespace; the machine's mounts are not ours to undo.
        return Ok(());
    }
    let table = Path::new("/proc/self/mountinfo");
    let text = fs::read(table).map_err(SnapshotError::io("reading", table))?;
    let mut points: Vec<PathBuf> = text
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(unescape)
        .filter(|point| point != state && point.starts_with(state))
        .collect();
    // The last mounted goes first.
    points.reverse();
    for point in points {
        rustix::mount::unmount(&point, UnmountFlags::DETACH)
            .map_err(SnapshotError::io("unmounting", &point))?;
    }
    Ok(())
}

/// Reads a path as the kernel writes it there: blanks and such as `\` and three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .filter(|_| byte == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(value) => {
                path.push(value);
                rest = &after[3..];
            }
            None => {
                path.push(byte);
                rest = after;
            }
        }
    }
    OsString::from_vec(path).into()
}

/// Empties `work/`.
pub(super) fn work(path: &Path) -> Result<(), SnapshotError> {
    Ok(Root::open(path)?.clear_dir(Path::new("/"))?)
}

/// Removes layer directories without a record, and results that have a layer whose directory
/// is gone.
pub(super) fn layers(path: &Path, meta: &Meta) -> Result<(), SnapshotError> {
    let known: HashSet<LayerId> = meta
        .layers()?
        .into_iter()
        .filter(|info| info.unpacked)
        .map(|info| info.id)
        .collect();
    let root = Root::open(path)?;
    let mut present = HashSet::new();
    for entry in root.read_dir(Path::new("/"))? {
        let layer = entry.name.to_str().and_then(LayerId::parse);
        match layer {
            Some(layer) if known.contains(&layer) => drop(present.insert(layer)),
            _ => root.remove_all(Path::new(&entry.name))?,
        }
    }
    if known.len() > present.len() {
        let lost = known.difference(&present).cloned().collect();
        forget_lost(meta, &lost)?;
    }
    Ok(())
}

/// Forgets what was made of layers whose directories are gone.
pub(super) fn forget_lost(meta: &Meta, lost: &HashSet<LayerId>) -> Result<(), SnapshotError> {
    let mut results = Vec::new();
    for result in meta.results()? {
        if result.layers.iter().any(|layer| lost.contains(layer)) {
            results.push(result.id);
        }
    }
    tracing::warn!(
        layers = lost.len(),
        results = results.len(),
        "layer directories are gone; forgetting what was made of them"
    );
    meta.remove_results(results)?;
    meta.remove_layers(lost.iter().cloned().collect())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_in_mount_points_are_read_as_the_kernel_writes_them() {
        assert_eq!(unescape(br"/a\040b\134c"), Path::new(r"/a b\c"));
        assert_eq!(unescape(br"/a\9"), Path::new(r"/a\9"));
    }
}
