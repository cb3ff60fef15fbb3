use std::path::Path;
use std::time::Duration;

use super::hierarchy::Hierarchy;
use super::step::remove;
use crate::confine::Root;

/// How often a group is tried that still has processes: those of an engine that was killed are on their way out.
const TRIES: u32 = 20;

/// How long is waited between the tries.
const PAUSE: Duration = Duration::from_millis(10);

/// Removes the groups of an earlier process in `place`, those whose names begin so; groups with processes stay.
pub(super) fn reap(hierarchy: &Hierarchy, place: &Path, prefix: &str) {
    let Ok(root) = Root::open(&hierarchy.place) else {
        return;
    };
    for entry in root.read_dir(place).unwrap_or_default() {
        let is_ours = entry.name.to_string_lossy().starts_with(prefix);
        if !is_ours || !entry.metadata.is_dir() {
            continue;
        }
        let path = place.join(&entry.name);
        let mut removed = remove(&root, &path);
        for _ in 0..TRIES {
            if removed.is_ok() {
                break;
            }
            std::thread::sleep(PAUSE);
            removed = remove(&root, &path);
        }
        if let Err(error) = removed {
            tracing::warn!(%error, "a control group of an earlier process stays");
        }
    }
}
