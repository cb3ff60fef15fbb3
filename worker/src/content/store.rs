use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use cooper_proto::{Algorithm, Digest};

use super::{ContentError, Expected, Ingest, VerifiedBlob, ingest::digest_of};
use crate::limits::Limits;

const ALGORITHMS: [Algorithm; 3] = [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512];

/// The content store of one state folder. Clones are the same store.
///
/// Many threads may read and write at once; two that write the same blob both succeed and
/// one copy stays.
#[derive(Clone, Debug)]
pub struct ContentStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    blob_cap: u64,
    next_ingest: AtomicU64,
}

impl ContentStore {
    /// Opens the store in the state folder `root`, and removes what an earlier process left
    /// half-written. Only one process may have it open.
    ///
    /// # Errors
    /// When the folder cannot be made, listed or cleaned.
    pub fn open(root: &Path, limits: &Limits) -> Result<Self, ContentError> {
        let store = Self {
            inner: Arc::new(Inner {
                root: root.to_owned(),
                blob_cap: limits.blob_bytes,
                next_ingest: AtomicU64::new(0),
            }),
        };
        for algorithm in ALGORITHMS {
            make_dir(&root.join("blobs").join(algorithm.name()))?;
        }
        for folder in ["ingest", "quarantine"] {
            make_dir(&root.join(folder))?;
        }
        let ingest = root.join("ingest");
        for entry in fs::read_dir(&ingest).map_err(ContentError::io("listing", &ingest))? {
            let path = entry.map_err(ContentError::io("listing", &ingest))?.path();
            fs::remove_file(&path).map_err(ContentError::io("removing", &path))?;
        }
        Ok(store)
    }

    /// Whether the store has the blob.
    #[must_use]
    pub fn contains(&self, digest: &Digest) -> bool {
        self.blob_path(digest).is_file()
    }

    /// The blob's size in bytes, if the store has it.
    ///
    /// # Errors
    /// When the file system refuses to say.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>, ContentError> {
        let path = self.blob_path(digest);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ContentError::io("looking at", path)(error)),
        }
    }

    /// When the blob was stored, in nanoseconds since 1970; `None` when there is none.
    #[must_use]
    pub fn stored_ns(&self, digest: &Digest) -> Option<u64> {
        let modified = fs::metadata(self.blob_path(digest)).ok()?.modified().ok()?;
        let since = modified.duration_since(std::time::UNIX_EPOCH).ok()?;
        u64::try_from(since.as_nanos()).ok()
    }

    /// Opens the blob to read. Its bytes were verified when it entered.
    ///
    /// # Errors
    /// [`ContentError::Missing`] when there is none.
    pub fn reader(&self, digest: &Digest) -> Result<File, ContentError> {
        let path = self.blob_path(digest);
        File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ContentError::Missing(digest.clone()),
            _ => ContentError::io("opening", path)(error),
        })
    }

    /// Opens the blob to read from async code.
    ///
    /// # Errors
    /// [`ContentError::Missing`] when there is none.
    pub fn async_reader(&self, digest: &Digest) -> Result<tokio::fs::File, ContentError> {
        self.reader(digest).map(tokio::fs::File::from_std)
    }

    /// The blob's bytes, verified again: for manifests and configs, which are small and
    /// decide much.
    ///
    /// # Errors
    /// [`ContentError::Missing`], [`ContentError::TooLarge`] above `cap` bytes,
    /// [`ContentError::Damaged`].
    pub fn read(&self, digest: &Digest, cap: u64) -> Result<Vec<u8>, ContentError> {
        let mut bytes = Vec::new();
        self.reader(digest)?
            .take(cap.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(ContentError::io("reading", self.blob_path(digest)))?;
        if bytes.len() as u64 > cap {
            return Err(ContentError::TooLarge { cap });
        }
        if !digest.matches(&bytes) {
            return Err(self.quarantine(digest, digest.algorithm().digest(&bytes))?);
        }
        Ok(bytes)
    }

    /// Begins a blob.
    ///
    /// # Errors
    /// When its file cannot be made.
    pub fn ingest(&self, expected: Expected) -> Result<Ingest, ContentError> {
        Ingest::open(self.clone(), expected)
    }

    /// Keeps bytes that are at hand.
    ///
    /// # Errors
    /// As [`Ingest::append`] and [`Ingest::commit`].
    pub fn put(&self, bytes: &[u8]) -> Result<VerifiedBlob, ContentError> {
        let mut ingest = self.ingest(Expected::default())?;
        ingest.append(bytes)?;
        ingest.commit()
    }

    /// Hashes the blob on disk again. One that does not match is moved to quarantine, so
    /// that nobody takes it for what it is called.
    ///
    /// # Errors
    /// [`ContentError::Missing`], [`ContentError::Damaged`].
    pub fn verify(&self, digest: &Digest) -> Result<VerifiedBlob, ContentError> {
        let mut file = self.reader(digest)?;
        let (found, size) = digest_of(digest.algorithm(), &mut file)
            .map_err(ContentError::io("reading", self.blob_path(digest)))?;
        if found == *digest {
            Ok(VerifiedBlob::new(found, size))
        } else {
            Err(self.quarantine(digest, found)?)
        }
    }

    /// Whether the blob is there and its bytes are those of its digest.
    pub(super) fn reads_whole(&self, digest: &Digest) -> bool {
        let read = self.reader(digest).ok();
        let found = read.and_then(|mut file| digest_of(digest.algorithm(), &mut file).ok());
        found.is_some_and(|(found, _)| found == *digest)
    }

    /// Removes the blob. That it is not there is no error.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn remove(&self, digest: &Digest) -> Result<(), ContentError> {
        let path = self.blob_path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(ContentError::io("removing", path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Every blob with its size in bytes, in the order of their digests.
    ///
    /// # Errors
    /// When a folder cannot be listed.
    pub fn list(&self) -> Result<Vec<(Digest, u64)>, ContentError> {
        let mut blobs = Vec::new();
        for algorithm in ALGORITHMS {
            let folder = self.inner.root.join("blobs").join(algorithm.name());
            for entry in fs::read_dir(&folder).map_err(ContentError::io("listing", &folder))? {
                let entry = entry.map_err(ContentError::io("listing", &folder))?;
                let name = entry.file_name();
                let text = format!("{algorithm}:{}", name.to_string_lossy());
                // A file whose name is no digest is not ours; leave it alone.
                let Ok(digest) = text.parse::<Digest>() else {
                    continue;
                };
                let metadata = entry
                    .metadata()
                    .map_err(ContentError::io("looking at", entry.path()))?;
                blobs.push((digest, metadata.len()));
            }
        }
        blobs.sort();
        Ok(blobs)
    }

    /// The file of a blob, whether or not it is there.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.inner
            .root
            .join("blobs")
            .join(digest.algorithm().name())
            .join(digest.hex())
    }

    pub(super) fn blob_cap(&self) -> u64 {
        self.inner.blob_cap
    }

    pub(super) fn new_ingest_path(&self) -> PathBuf {
        let number = self.inner.next_ingest.fetch_add(1, Ordering::Relaxed);
        self.inner.root.join("ingest").join(number.to_string())
    }

    fn quarantine(&self, digest: &Digest, found: Digest) -> Result<ContentError, ContentError> {
        let path = self.blob_path(digest);
        let target = self.inner.root.join("quarantine").join(format!(
            "{}-{}",
            digest.algorithm(),
            digest.hex()
        ));
        fs::rename(&path, &target).map_err(ContentError::io("quarantining", path))?;
        Ok(ContentError::Damaged {
            expected: digest.clone(),
            found,
        })
    }
}

fn make_dir(path: &Path) -> Result<(), ContentError> {
    fs::create_dir_all(path).map_err(ContentError::io("creating", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, ContentStore) {
        let dir = tempfile::tempdir().unwrap();
        let store = ContentStore::open(dir.path(), &Limits::default()).unwrap();
        (dir, store)
    }

    fn names_in(path: &Path) -> usize {
        fs::read_dir(path).unwrap().count()
    }

    #[test]
    fn a_blob_is_found_by_the_digest_of_its_bytes() {
        let (dir, store) = store();
        let blob = store.put(b"hello").unwrap();
        assert_eq!(*blob.digest(), Digest::sha256_of("hello"));
        assert_eq!(store.size(blob.digest()).unwrap(), Some(5));
        assert_eq!(store.read(blob.digest(), 5).unwrap(), b"hello");
        assert_eq!(store.list().unwrap(), [(blob.digest().clone(), 5)]);
        assert_eq!(names_in(&dir.path().join("ingest")), 0);
        store.put(b"hello").unwrap();
        assert_eq!(store.list().unwrap().len(), 1);
        store.remove(blob.digest()).unwrap();
        store.remove(blob.digest()).unwrap();
        assert!(!store.contains(blob.digest()));
    }

    // T-A20: other bytes, truncated, longer, the right size with the wrong hash.
    #[test]
    fn bytes_that_were_not_announced_do_not_enter() {
        let (dir, store) = store();
        let expected = Expected::described(Digest::sha256_of("hello"), 5);
        for bytes in ["", "hell", "hello!", "HELLO"] {
            let mut ingest = store.ingest(expected.clone()).unwrap();
            let result = ingest
                .append(bytes.as_bytes())
                .and_then(|()| ingest.commit());
            assert!(result.is_err(), "{bytes:?}");
            assert_eq!(store.list().unwrap(), [], "{bytes:?}");
            assert_eq!(names_in(&dir.path().join("ingest")), 0, "{bytes:?}");
        }
    }

    #[test]
    fn other_algorithms_are_hashed_as_announced() {
        let (_dir, store) = store();
        let digest = Algorithm::Sha512.digest("hello");
        let mut ingest = store.ingest(Expected::digest(digest.clone())).unwrap();
        ingest.append(b"hello").unwrap();
        assert_eq!(*ingest.commit().unwrap().digest(), digest);
        assert!(!store.contains(&Digest::sha256_of("hello")));
    }

    #[test]
    fn a_blob_above_its_cap_is_refused_while_it_arrives() {
        let (_dir, store) = store();
        let expected = Expected {
            cap: Some(4),
            ..Expected::default()
        };
        let mut ingest = store.ingest(expected).unwrap();
        ingest.append(b"1234").unwrap();
        let error = ingest.append(b"5").unwrap_err();
        assert!(
            matches!(error, ContentError::TooLarge { cap: 4 }),
            "{error}"
        );
        assert!(ingest.commit().is_err());
    }

    #[test]
    fn damaged_bytes_go_to_quarantine() {
        for by_reading in [true, false] {
            let (dir, store) = store();
            let digest = store.put(b"hello").unwrap().digest().clone();
            fs::write(store.blob_path(&digest), "jello").unwrap();
            let error = if by_reading {
                store.read(&digest, 10).unwrap_err()
            } else {
                store.verify(&digest).unwrap_err()
            };
            assert!(matches!(error, ContentError::Damaged { .. }), "{error}");
            assert!(!store.contains(&digest));
            assert_eq!(names_in(&dir.path().join("quarantine")), 1);
            store.put(b"hello").unwrap();
            store.verify(&digest).unwrap();
        }
    }

    // RT-17: a document that went bad stayed so though every build made it anew.
    #[test]
    fn bytes_that_arrive_anew_take_the_place_of_damaged_ones() {
        let (_dir, store) = store();
        let digest = store.put(b"hello").unwrap().digest().clone();
        for bad in ["jello", "hell", ""] {
            fs::write(store.blob_path(&digest), bad).unwrap();
            store.put(b"hello").unwrap();
            store.verify(&digest).unwrap();
        }
    }

    #[test]
    fn a_dropped_or_killed_ingest_leaves_nothing() {
        let (dir, store) = store();
        let mut ingest = store.ingest(Expected::default()).unwrap();
        ingest.append(b"x").unwrap();
        std::mem::forget(ingest);
        assert_eq!(names_in(&dir.path().join("ingest")), 1);
        let store = ContentStore::open(dir.path(), &Limits::default()).unwrap();
        drop(store.ingest(Expected::default()).unwrap());
        assert_eq!(names_in(&dir.path().join("ingest")), 0);
    }
}
