use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use super::seed::seed;
use crate::confine::{ConfineError, Owner, Root};
use crate::gc::Ledger;

/// How the names of directories begin that nobody will ask for again.
const FORGOTTEN: &str = "forgotten-";

/// How steps that run at the same time use one cache mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// All use the same directory.
    Shared,
    /// Each gets a directory that nobody else uses; there may be several of the same name.
    Private,
    /// One after the other.
    Locked,
}

/// The directories behind `RUN --mount=type=cache`, which outlive builds.
///
/// # Shape
/// `<root>/<sha256 of the name>-<n>/` holds `id` (the name, for people) and `data/`. `n` counts the directories of one
/// name; it is above 0 where private users met.
///
/// Clones are the same store. Only one process may use a root at a time.
#[derive(Debug, Clone)]
pub struct CacheMounts {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    /// Directories in use, by name.
    used: Mutex<HashMap<String, Use>>,
    changed: Notify,
    /// Held while a new directory is filled.
    filling: Mutex<()>,
    ledger: OnceLock<Ledger>,
}

/// Longest name that is read back.
///
/// # Units
/// Bytes. Source: an op is at most 16 MiB, and a name is part of it.
const NAME_BYTES: u64 = 16 << 20;

/// `<64 hexadecimal digits>-<n>`.
fn is_directory_name(text: &str) -> bool {
    text.split_once('-').is_some_and(|(hash, number)| {
        hash.len() == 64
            && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Use {
    users: u64,
    shared: bool,
}

impl CacheMounts {
    /// The cache mounts kept in `root`, a directory of ours.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        let inner = Inner {
            root: root.to_owned(),
            used: Mutex::default(),
            changed: Notify::new(),
            filling: Mutex::default(),
            ledger: OnceLock::new(),
        };
        let store = Self {
            inner: Arc::new(inner),
        };
        if let Err(error) = store.reap() {
            tracing::warn!(%error, "forgotten cache mounts could not be removed");
        }
        store
    }

    /// Forgets what the mounts of an op's id hold: who asks from now on gets an empty directory. Those that use one of
    /// them now keep it to their end. Blocks.
    ///
    /// # Errors
    /// Where a directory cannot be moved out of the way.
    pub fn forget(&self, id: &str) -> Result<(), ConfineError> {
        let root = match Root::open(&self.inner.root) {
            Err(error) if error.is_not_found() => return Ok(()),
            root => root?,
        };
        let _filling = self.inner.filling.lock();
        for entry in root.read_dir(Path::new("/"))? {
            let directory = Path::new(&entry.name);
            // What a mount starts from is behind its id.
            let name = self.name_of(&root, &entry.name.to_string_lossy());
            let rest = name.strip_prefix(id);
            if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':')) {
                continue;
            }
            let forgotten = format!("{FORGOTTEN}{}", hex::encode(rand::random::<[u8; 8]>()));
            root.rename(directory, Path::new(&forgotten))?;
            let is_used = self
                .inner
                .used
                .lock()
                .contains_key(&*entry.name.to_string_lossy());
            if !is_used {
                root.remove_all(Path::new(&forgotten))?;
            }
        }
        Ok(())
    }

    /// Removes what was forgotten while it was used.
    fn reap(&self) -> Result<(), ConfineError> {
        let root = match Root::open(&self.inner.root) {
            Err(error) if error.is_not_found() => return Ok(()),
            root => root?,
        };
        for entry in root.read_dir(Path::new("/"))? {
            if entry.name.to_string_lossy().starts_with(FORGOTTEN) {
                root.remove_all(Path::new(&entry.name))?;
            }
        }
        Ok(())
    }

    /// The same store, which notes uses in `ledger`.
    #[must_use]
    pub fn with_ledger(self, ledger: Ledger) -> Self {
        // Told at the start or not at all.
        let _told_twice = self.inner.ledger.set(ledger);
        self
    }

    /// Where the directories are.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Whether a step uses the directory now.
    #[must_use]
    pub fn is_used(&self, directory: &str) -> bool {
        self.inner.used.lock().contains_key(directory)
    }

    /// The name that a directory was made for, empty when it says none.
    pub(crate) fn name_of(&self, root: &Root, directory: &str) -> String {
        let name = root.read_small(&Path::new(directory).join("id"), NAME_BYTES);
        String::from_utf8_lossy(&name.unwrap_or_default()).into_owned()
    }

    /// Removes a directory unless it is in use; whether it is gone.
    ///
    /// # Errors
    /// Where it cannot be removed.
    pub fn remove(&self, directory: &str) -> Result<bool, ConfineError> {
        if !is_directory_name(directory) || !self.inner.root.join(directory).is_dir() {
            return Ok(false);
        }
        let mut used = self.inner.used.lock();
        if used.contains_key(directory) {
            return Ok(false);
        }
        let alone = Use {
            users: 1,
            shared: false,
        };
        used.insert(directory.to_owned(), alone);
        drop(used);
        let removed = Root::open(&self.inner.root)?.remove_all(Path::new(directory));
        self.release(directory);
        removed.map(|()| true)
    }

    /// Waits for a directory of this name and keeps it until the lease is dropped.
    ///
    /// # Cancel
    /// Dropping the future takes nothing.
    pub async fn lease(&self, name: &str, sharing: Sharing) -> CacheLease {
        loop {
            let changed = self.inner.changed.notified();
            tokio::pin!(changed);
            // From here on no release is missed.
            changed.as_mut().enable();
            if let Some(lease) = self.try_lease(name, sharing) {
                if let Some(ledger) = self.inner.ledger.get() {
                    ledger.note(&lease.directory, &format!("cached mount {name}"));
                }
                return lease;
            }
            changed.await;
        }
    }

    fn try_lease(&self, name: &str, sharing: Sharing) -> Option<CacheLease> {
        let hash = hex::encode(Sha256::digest(name.as_bytes()));
        let mut used = self.inner.used.lock();
        for number in 0.. {
            let directory = format!("{hash}-{number}");
            let free = match (used.get_mut(&directory), sharing) {
                (None, _) => true,
                (Some(of), Sharing::Shared) if of.shared => {
                    of.users += 1;
                    return Some(CacheLease {
                        store: self.clone(),
                        name: name.to_owned(),
                        directory,
                    });
                }
                (Some(_), Sharing::Locked) => return None,
                (Some(_), _) => false,
            };
            if free {
                used.insert(
                    directory.clone(),
                    Use {
                        users: 1,
                        shared: sharing == Sharing::Shared,
                    },
                );
                return Some(CacheLease {
                    store: self.clone(),
                    name: name.to_owned(),
                    directory,
                });
            }
        }
        None
    }

    fn release(&self, directory: &str) {
        let mut used = self.inner.used.lock();
        if let Some(of) = used.get_mut(directory) {
            of.users -= 1;
            if of.users == 0 {
                used.remove(directory);
            }
        }
        drop(used);
        self.inner.changed.notify_waiters();
    }
}

/// The right to use one cache mount's directory, until dropped.
#[derive(Debug)]
pub struct CacheLease {
    store: CacheMounts,
    name: String,
    directory: String,
}

impl CacheLease {
    /// Opens the directory; the first time it is made, as a copy of `base` if there is one.
    ///
    /// # Errors
    /// Where it cannot be made, filled or opened. A half-filled one is made anew.
    pub fn open(&self, base: Option<&Root>) -> Result<Root, ConfineError> {
        let root = Root::open(&self.store.inner.root)?;
        let directory = Path::new(&self.directory);
        let data = directory.join("data");
        match root.subroot(&data) {
            Err(error) if error.is_not_found() => {}
            found => return found,
        }
        // Shared users may come at the same time; the first one fills it.
        let _filling = self.store.inner.filling.lock();
        match root.subroot(&data) {
            Err(error) if error.is_not_found() => {}
            found => return found,
        }
        let new = directory.join("data.new");
        match root.remove_all(&new) {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
        root.mkdir_all(directory, 0o700, None)?;
        root.mkdir_all(&new, 0o755, Some(Owner::default()))?;
        if let Some(base) = base {
            seed(base, &root.subroot(&new)?)?;
        }
        self.write_name(&root)?;
        root.rename(&new, &data)?;
        root.subroot(&data)
    }

    fn write_name(&self, root: &Root) -> Result<(), ConfineError> {
        let path = Path::new(&self.directory).join("id");
        match root.create_file(&path, 0o600) {
            Err(error) if error.is_already_exists() => Ok(()),
            file => std::io::Write::write_all(&mut file?, self.name.as_bytes()).map_err(|source| {
                ConfineError::System {
                    action: "write",
                    path,
                    source,
                }
            }),
        }
    }
}

impl Drop for CacheLease {
    fn drop(&mut self) {
        self.store.release(&self.directory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn store() -> (tempfile::TempDir, CacheMounts) {
        let temp = tempfile::tempdir().unwrap();
        let store = CacheMounts::new(temp.path());
        (temp, store)
    }

    fn now(store: &CacheMounts, name: &str, sharing: Sharing) -> Option<CacheLease> {
        store.lease(name, sharing).now_or_never()
    }

    #[test]
    fn shared_users_meet_and_private_users_do_not() {
        let (_temp, store) = store();
        let directory = |lease: &Option<CacheLease>| lease.as_ref().unwrap().directory.clone();
        let shared = [(); 2].map(|()| now(&store, "a", Sharing::Shared));
        assert_eq!(directory(&shared[0]), directory(&shared[1]));
        let private = [(); 2].map(|()| now(&store, "b", Sharing::Private));
        assert_ne!(directory(&private[0]), directory(&private[1]));
        let first = directory(&private[0]);
        drop(private);
        assert_eq!(
            directory(&now(&store, "b", Sharing::Private)),
            first,
            "what is free is used again"
        );
        assert_ne!(
            directory(&now(&store, "a", Sharing::Private)),
            directory(&shared[0])
        );
    }

    #[tokio::test]
    async fn locked_user_waits_for_the_one_before() {
        let (_temp, store) = store();
        let first = store.lease("a", Sharing::Locked).await;
        assert!(now(&store, "a", Sharing::Locked).is_none());
        assert!(now(&store, "other", Sharing::Locked).is_some());
        let waiting = store.lease("a", Sharing::Locked);
        tokio::pin!(waiting);
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        drop(first);
        waiting.await;
    }

    #[test]
    fn content_stays_and_the_base_fills_only_the_first_time() {
        let (temp, store) = store();
        let base = tempfile::tempdir().unwrap();
        std::fs::write(base.path().join("seed"), "1").unwrap();
        let base = Root::open(base.path()).unwrap();
        for round in 0..2 {
            let lease = now(&store, "../../etc", Sharing::Shared).unwrap();
            let data = lease.open(Some(&base)).unwrap();
            assert_eq!(data.read_small(Path::new("seed"), 9).unwrap(), b"1");
            assert_eq!(
                data.create_file(Path::new("made"), 0o644).is_ok(),
                round == 0
            );
        }
        assert_eq!(
            std::fs::read_dir(temp.path()).unwrap().count(),
            1,
            "a name is never a path"
        );
    }

    #[test]
    fn forgotten_content_is_gone_for_all_but_its_users() {
        let (temp, store) = store();
        let made = |name: &str| {
            let lease = now(&store, name, Sharing::Shared).unwrap();
            let data = lease.open(None).unwrap();
            data.create_file(Path::new("made"), 0o644).unwrap();
            (lease, data)
        };
        let is_empty = |name: &str| {
            let lease = now(&store, name, Sharing::Shared).unwrap();
            let root = lease.open(None).unwrap();
            root.read_dir(Path::new("/")).unwrap().is_empty()
        };
        let used = made("a");
        drop((made("a:base:/"), made("ab")));
        store.forget("a").unwrap();
        assert!(used.1.read_small(Path::new("made"), 9).is_ok());
        assert!(is_empty("a") && is_empty("a:base:/"));
        assert!(!is_empty("ab"));
        drop(used);
        drop(CacheMounts::new(temp.path()));
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 3);
    }

    #[test]
    fn half_filled_directory_is_made_anew() {
        let (temp, store) = store();
        let lease = now(&store, "a", Sharing::Shared).unwrap();
        std::fs::create_dir_all(temp.path().join(&lease.directory).join("data.new/rest")).unwrap();
        assert!(
            lease
                .open(None)
                .unwrap()
                .read_dir(Path::new("/"))
                .unwrap()
                .is_empty()
        );
    }
}
