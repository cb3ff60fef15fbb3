use std::{fs::File, path::Path};

use parking_lot::{Condvar, Mutex};

use super::SnapshotError;

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

    /// Returns when a flush that began after this call has ended.
    pub(super) fn flush(&self, path: &Path) -> Result<(), SnapshotError> {
        if self.durability == Durability::ProcessDeath {
            return Ok(());
        }
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
                scope.spawn(|| flusher.flush(dir.path()).unwrap());
            }
        });
        let state = flusher.state.lock();
        assert!(state.begun >= 1 && state.begun <= 16);
        assert_eq!(state.begun, state.ended);
        assert!(!state.running);
    }
}
