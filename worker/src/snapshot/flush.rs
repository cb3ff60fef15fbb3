use std::{fs::File, path::Path};

use parking_lot::{Condvar, Mutex};

use super::SnapshotError;
use crate::confine::{Root, Visit};

/// Up to so many objects are flushed one by one: the whole file system may have much to write
/// that is not ours.
const FEW: u64 = 16;

/// What a committed layer survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Power loss: everything is on the disk before the commit returns.
    #[default]
    PowerLoss,
    /// The death of this process, but not of the kernel: for tests and throw-away states.
    ProcessDeath,
}

/// Flushes a file system, once for all that ask at the same time.
#[derive(Debug)]
pub(super) struct Flusher {
    durability: Durability,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// How many flushes have begun, and how many of them have ended.
    begun: u64,
    ended: u64,
    /// The last flush that failed.
    failed: Option<u64>,
    running: bool,
}

impl Flusher {
    pub(super) fn new(durability: Durability) -> Self {
        Self {
            durability,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Returns when all that is below `path` is on the disk. With few objects these are
    /// flushed and nothing else; with many or unknown ones the file system is.
    pub(super) fn flush(&self, path: &Path, objects: Option<u64>) -> Result<(), SnapshotError> {
        if self.durability == Durability::ProcessDeath {
            return Ok(());
        }
        if objects.is_some_and(|objects| objects <= FEW) {
            return flush_each(path);
        }
        self.flush_all(path)
    }

    /// Returns when a flush of the file system that began after this call has ended.
    fn flush_all(&self, path: &Path) -> Result<(), SnapshotError> {
        let mut state = self.state.lock();
        // One that runs now may have begun before our last write; the next one serves us.
        let wanted = state.begun + 1;
        loop {
            if state.ended >= wanted {
                if state.failed.is_some_and(|failed| failed >= wanted) {
                    // Not ours to know which file failed: try alone.
                    drop(state);
                    return sync(path);
                }
                return Ok(());
            }
            if !state.running {
                break;
            }
            self.changed.wait(&mut state);
        }
        state.begun += 1;
        state.running = true;
        let number = state.begun;
        drop(state);
        let result = sync(path);
        let mut state = self.state.lock();
        state.running = false;
        state.ended = number;
        if result.is_err() {
            state.failed = Some(number);
        }
        self.changed.notify_all();
        result
    }
}

fn flush_each(path: &Path) -> Result<(), SnapshotError> {
    let root = Root::open(path)?;
    root.walk(Path::new("/"), |path, node, metadata| {
        if metadata.is_file() {
            let file = node.open_read()?;
            file.sync_all()
                .map_err(SnapshotError::io("flushing", path))?;
        } else if metadata.is_dir() {
            let directory = root.subroot(path)?;
            rustix::fs::fsync(&directory).map_err(SnapshotError::io("flushing", path))?;
        }
        Ok::<_, SnapshotError>(Visit::Enter)
    })?;
    rustix::fs::fsync(&root).map_err(SnapshotError::io("flushing", path))
}

fn sync(path: &Path) -> Result<(), SnapshotError> {
    let dir = File::open(path).map_err(SnapshotError::io("opening", path))?;
    rustix::fs::syncfs(&dir).map_err(SnapshotError::io("flushing", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_that_flush_at_once_all_return_and_share() {
        let dir = tempfile::tempdir().unwrap();
        let flusher = Flusher::new(Durability::PowerLoss);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| flusher.flush(dir.path(), None).unwrap());
            }
        });
        let state = flusher.state.lock();
        assert!(state.begun >= 1 && state.begun <= 16);
        assert_eq!(state.begun, state.ended);
        assert!(!state.running);
    }

    #[test]
    fn a_few_files_are_flushed_without_the_file_system() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/f"), "x").unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("l")).unwrap();
        let flusher = Flusher::new(Durability::PowerLoss);
        flusher.flush(dir.path(), Some(3)).unwrap();
        assert_eq!(flusher.state.lock().begun, 0);
        flusher.flush(dir.path(), Some(FEW + 1)).unwrap();
        assert_eq!(flusher.state.lock().begun, 1);
    }
}
