//! The database's file: opened, checked, and opened again after its disk failed.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use redb::{Database, DatabaseError, StorageError};

use super::MetaError;

/// What redb may hold of its file in memory: the kernel holds the rest, and gives it back when it is needed elsewhere.
/// By itself redb takes up to 1 GiB and keeps it. The file grows by about 1 MB with each hundred small builds, and the
/// process with it until this is full.
const CACHE_BYTES: usize = 2 * 1024 * 1024;

/// How long readers of a file that is to be opened again are waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// One database, which survives failures of the disk: redb answers nothing after the first until it is opened again.
#[derive(Debug)]
pub(super) struct OpenDatabase {
    file: PathBuf,
    database: RwLock<Option<Arc<Database>>>,
    /// Held while the file is opened again. Not the lock above: who still has the failed database must be able to say so
    /// and let go of it meanwhile.
    opening: Mutex<()>,
}

impl OpenDatabase {
    /// Opens the file or makes it. One that is damaged is set aside, so that a start needs nobody: what it knew is
    /// redone (security.md RT-17).
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(super) fn open(file: &Path) -> Result<Self, MetaError> {
        let database = match checked(file) {
            Err(error) if is_damage(&error) => {
                let aside = file.with_extension("damaged");
                tracing::error!(
                    %error,
                    aside = %aside.display(),
                    "the metadata store is damaged: it is set aside, and all builds run again"
                );
                fs::rename(file, &aside)
                    .map_err(redb::Error::Io)
                    .map_err(Box::new)?;
                checked(file)?
            }
            opened => opened?,
        };
        Ok(Self {
            file: file.to_owned(),
            database: RwLock::new(Some(Arc::new(database))),
            opening: Mutex::default(),
        })
    }

    /// Begins a transaction; once more where an earlier one is what failed.
    ///
    /// # Shape
    /// The transaction, and the database to tell [`Self::has_failed`] of.
    ///
    /// # Errors
    /// When the disk fails, or the file cannot be opened again yet.
    pub(super) fn begin<T, E: Into<MetaError>>(
        &self,
        begin: impl Fn(&Database) -> Result<T, E>,
    ) -> Result<(T, Arc<Database>), MetaError> {
        let database = self.get()?;
        if let Ok(begun) = begin(&database) {
            return Ok((begun, database));
        }
        self.has_failed(
            &database,
            &MetaError::Store(Box::new(redb::Error::PreviousIo)),
        );
        drop(database);
        let database = self.get()?;
        match begin(&database) {
            Ok(begun) => Ok((begun, database)),
            Err(error) => {
                let error = error.into();
                self.has_failed(&database, &error);
                Err(error)
            }
        }
    }

    /// The database; opened again where the last use of it failed.
    fn get(&self) -> Result<Arc<Database>, MetaError> {
        if let Some(database) = &*self.database.read() {
            return Ok(Arc::clone(database));
        }
        let _one_at_a_time = self.opening.lock();
        if let Some(database) = &*self.database.read() {
            return Ok(Arc::clone(database));
        }
        let database = Arc::new(reopened(&self.file)?);
        *self.database.write() = Some(Arc::clone(&database));
        Ok(database)
    }

    /// Says that a use of `failed` ended with an error; decides whether it has to be opened again.
    pub(super) fn has_failed(&self, failed: &Arc<Database>, error: &MetaError) {
        if !error.is_of_the_disk() {
            return;
        }
        let mut slot = self.database.write();
        if slot.as_ref().is_some_and(|open| Arc::ptr_eq(open, failed)) {
            tracing::warn!(%error, "the metadata store failed and is opened again");
            *slot = None;
        }
    }
}

/// Opens the file once those who still read it are done.
fn reopened(file: &Path) -> Result<Database, MetaError> {
    let begun = Instant::now();
    loop {
        match open(file) {
            Err(DatabaseError::DatabaseAlreadyOpen) if begun.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(2));
            }
            opened => return Ok(opened?),
        }
    }
}

fn open(file: &Path) -> Result<Database, DatabaseError> {
    Database::builder().set_cache_size(CACHE_BYTES).create(file)
}

/// Opens the file and compares every page with its checksum.
fn checked(file: &Path) -> Result<Database, DatabaseError> {
    // A damaged length or kind of page can make redb panic, before it looks at sums.
    let checked = catch_unwind(AssertUnwindSafe(|| {
        let mut database = open(file)?;
        database.check_integrity()?;
        Ok(database)
    }));
    checked.unwrap_or_else(|_| {
        let panicked = "reading it panicked".to_owned();
        Err(StorageError::Corrupted(panicked).into())
    })
}

/// Whether the file is not what was written, in contrast to a disk that does not answer.
fn is_damage(error: &DatabaseError) -> bool {
    use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    match error {
        DatabaseError::Storage(StorageError::Io(error)) => {
            matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
        }
        DatabaseError::Storage(StorageError::Corrupted(_))
        | DatabaseError::RepairAborted
        | DatabaseError::UpgradeRequired(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::meta::Meta;
    use rand::{Rng, SeedableRng, rngs::StdRng};
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

    /// A small disk of its own.
    struct Disk(tempfile::TempDir);

    impl Disk {
        fn new(options: &std::ffi::CStr) -> Self {
            let dir = tempfile::tempdir().unwrap();
            mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), options).unwrap();
            Self(dir)
        }
    }

    impl Drop for Disk {
        fn drop(&mut self) {
            unmount(self.0.path(), UnmountFlags::DETACH).unwrap();
        }
    }

    fn save(meta: &Meta, key: &'static str, bytes: usize) -> Result<(), MetaError> {
        meta.save_document("test", key, Some(vec![7; bytes]))
    }

    fn has(meta: &Meta, key: &str) -> bool {
        meta.document("test", key).unwrap().is_some()
    }

    // RT-21
    #[test]
    fn a_store_whose_disk_was_full_works_again_when_it_is_not() {
        let disk = Disk::new(c"size=8m");
        let meta = Meta::open(&disk.0.path().join("meta.redb")).unwrap();
        save(&meta, "before", 100).unwrap();
        let filler = disk.0.path().join("filler");
        let _full = fs::write(&filler, vec![1; 8 << 20]);
        let error = save(&meta, "meanwhile", 4 << 20).unwrap_err();
        assert!(error.to_string().contains("No space left"), "{error}");
        fs::remove_file(&filler).unwrap();
        save(&meta, "after", 100).unwrap();
        for (key, is_there) in [("before", true), ("meanwhile", false), ("after", true)] {
            assert_eq!(has(&meta, key), is_there, "{key}");
        }
    }

    // RT-21: one failing sync lost the cache records of steps whose build was acknowledged. A reader that opened the file
    // again kept the writer from letting go of the failed one, and both waited until one gave up.
    #[test]
    fn a_disk_that_fails_for_a_moment_costs_no_record_and_no_look() {
        let disk = Disk::new(c"size=64m");
        let meta = Meta::open(&disk.0.path().join("meta.redb")).unwrap();
        save(&meta, "before", 100).unwrap();
        let filler = disk.0.path().join("filler");
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let looking = scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    assert!(has(&meta, "before"));
                }
            });
            for key in ["a", "b", "c", "d", "e"] {
                let _full = fs::write(&filler, vec![1; 64 << 20]);
                let saving = scope.spawn(|| save(&meta, key, 1 << 20));
                std::thread::sleep(Duration::from_millis(10));
                fs::remove_file(&filler).unwrap();
                saving.join().unwrap().unwrap();
                assert!(has(&meta, key));
            }
            is_over.store(true, Ordering::Relaxed);
            looking.join().unwrap();
        });
    }

    // RT-17
    #[test]
    fn a_damaged_store_is_noticed_and_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let whole = dir.path().join("whole.redb");
        let meta = Meta::open(&whole).unwrap();
        for key in ["a", "b", "c"] {
            save(&meta, key, 50_000).unwrap();
        }
        drop(meta);
        let whole = fs::read(whole).unwrap();
        let mut random = StdRng::seed_from_u64(1);
        for round in 0..20 {
            let file = dir.path().join(format!("{round}.redb"));
            let mut bytes = whole.clone();
            if round % 4 == 0 {
                bytes.truncate(random.random_range(1..bytes.len()));
            } else {
                let at = random.random_range(0..bytes.len());
                bytes[at] ^= 1 << random.random_range(0..8);
            }
            fs::write(&file, bytes).unwrap();
            let meta = Meta::open(&file).unwrap();
            for key in ["a", "b", "c"] {
                let found = meta.document("test", key).unwrap();
                assert!(found.is_none_or(|it| it == vec![7; 50_000]), "{round}");
            }
            save(&meta, "d", 10).unwrap();
            assert!(has(&meta, "d"));
        }
    }
}
