use std::sync::Arc;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// Keeps removal and use of blobs apart.
///
/// Whoever puts blobs or layers down and makes something refer to them only later holds the
/// gate meanwhile; who removes what nothing refers to closes it. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    lock: Arc<RwLock<()>>,
}

/// What was put down while this lives will not be removed.
#[derive(Debug)]
pub struct Hold {
    _guard: OwnedRwLockReadGuard<()>,
}

/// Nobody is putting anything down while this lives.
#[derive(Debug)]
pub(crate) struct Closed {
    _guard: OwnedRwLockWriteGuard<()>,
}

impl Gate {
    /// Waits while a removal is under way, which is short.
    pub async fn hold(&self) -> Hold {
        Hold {
            _guard: Arc::clone(&self.lock).read_owned().await,
        }
    }

    /// As [`Self::hold`], for code that blocks.
    pub fn hold_blocking(&self) -> Hold {
        loop {
            if let Ok(guard) = Arc::clone(&self.lock).try_read_owned() {
                return Hold { _guard: guard };
            }
            // A removal is over in the time that removing some files takes.
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// Closes the gate if nobody is in it.
    pub(crate) fn try_close(&self) -> Option<Closed> {
        let guard = Arc::clone(&self.lock).try_write_owned().ok()?;
        Some(Closed { _guard: guard })
    }
}
