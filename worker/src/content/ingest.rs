use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use cooper_proto::{Algorithm, Digest};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::{ContentError, ContentStore};

/// A blob that is there already is read again up to this size in bytes before another copy of it is thrown away.
const LOOKED_THROUGH: u64 = 1 << 20;

/// What was announced of a blob before its bytes arrive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Its digest. Without one the blob gets its SHA-256.
    pub digest: Option<Digest>,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// A cap in bytes below the store's own, for what is known to be small.
    pub cap: Option<u64>,
}

impl Expected {
    /// A blob whose digest and size a descriptor announced.
    #[must_use]
    pub const fn described(digest: Digest, size: u64) -> Self {
        Self {
            digest: Some(digest),
            size: Some(size),
            cap: None,
        }
    }

    /// A blob of which only the digest is known.
    #[must_use]
    pub const fn digest(digest: Digest) -> Self {
        Self {
            digest: Some(digest),
            size: None,
            cap: None,
        }
    }
}

/// A blob that is in the store under the digest that we computed from its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedBlob {
    digest: Digest,
    size: u64,
}

impl VerifiedBlob {
    pub(super) const fn new(digest: Digest, size: u64) -> Self {
        Self { digest, size }
    }

    /// The digest of its bytes.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its size in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }
}

#[derive(Clone)]
enum Hasher {
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Hasher {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha384 => Self::Sha384(Sha384::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha384(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> Digest {
        let (algorithm, hash) = match self {
            Self::Sha256(hasher) => (Algorithm::Sha256, hasher.finalize().to_vec()),
            Self::Sha384(hasher) => (Algorithm::Sha384, hasher.finalize().to_vec()),
            Self::Sha512(hasher) => (Algorithm::Sha512, hasher.finalize().to_vec()),
        };
        Digest::new(algorithm, &hash).expect("a hash is as long as its algorithm says")
    }
}

/// Hashes all that `reader` gives, for who compares bytes with a digest.
pub(super) fn digest_of(
    algorithm: Algorithm,
    reader: &mut impl io::Read,
) -> io::Result<(Digest, u64)> {
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; 1 << 18];
    let mut size = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok((hasher.finish(), size)),
            Ok(read) => {
                hasher.update(&buffer[..read]);
                size += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A blob that is arriving.
///
/// Write its bytes, then [`Self::commit`]. Dropped before that, it leaves nothing; killed
/// before that, it leaves a file in `ingest/` that the next start removes.
pub struct Ingest {
    store: ContentStore,
    file: File,
    path: Option<PathBuf>,
    hasher: Hasher,
    expected: Expected,
    cap: u64,
    written: u64,
}

impl Ingest {
    pub(super) fn open(store: ContentStore, expected: Expected) -> Result<Self, ContentError> {
        let path = store.new_ingest_path();
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(ContentError::io("creating", &path))?;
        let cap = expected.cap.unwrap_or(u64::MAX).min(store.blob_cap());
        let algorithm = expected
            .digest
            .as_ref()
            .map_or(Algorithm::Sha256, Digest::algorithm);
        Ok(Self {
            store,
            file,
            path: Some(path),
            hasher: Hasher::new(algorithm),
            expected,
            cap,
            written: 0,
        })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// When there are more bytes than announced or allowed, or the disk refuses. The blob
    /// cannot be committed after that.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), ContentError> {
        let written = self.written.saturating_add(bytes.len() as u64);
        if let Some(expected) = self.expected.size.filter(|size| written > *size) {
            self.discard();
            return Err(ContentError::Size {
                expected,
                received: written,
            });
        }
        if written > self.cap {
            self.discard();
            return Err(ContentError::TooLarge { cap: self.cap });
        }
        let Some(path) = &self.path else {
            return Err(ContentError::Source(io::Error::other(
                "this blob was given up after an earlier error",
            )));
        };
        if let Err(source) = self.file.write_all(bytes) {
            let error = ContentError::io("writing", path)(source);
            self.discard();
            return Err(error);
        }
        self.hasher.update(bytes);
        self.written = written;
        Ok(())
    }

    /// Gives the blob its name, durably: when this returns, a crash loses nothing.
    ///
    /// # Errors
    /// [`ContentError::Digest`] or [`ContentError::Size`] when what arrived is not what
    /// was announced; then the store is as it was.
    pub fn commit(mut self) -> Result<VerifiedBlob, ContentError> {
        let Some(path) = self.path.clone() else {
            return Err(ContentError::Source(io::Error::other(
                "this blob was given up after an earlier error",
            )));
        };
        if let Some(expected) = self.expected.size.filter(|size| self.written != *size) {
            return Err(ContentError::Size {
                expected,
                received: self.written,
            });
        }
        let received = self.hasher.clone().finish();
        if let Some(expected) = self.expected.digest.clone().filter(|it| *it != received) {
            return Err(ContentError::Digest { expected, received });
        }
        let target = self.store.blob_path(&received);
        if !self.is_kept(&received) {
            self.file
                .sync_all()
                .map_err(ContentError::io("syncing", &path))?;
            fs::rename(&path, &target).map_err(ContentError::io("naming", &target))?;
            self.path = None;
            sync_parent(&target)?;
        }
        Ok(VerifiedBlob::new(received, self.written))
    }

    /// Whether the store has these bytes under their digest. One that went bad there gives way to the one that arrived,
    /// as far as looking is cheap.
    fn is_kept(&self, digest: &Digest) -> bool {
        if !matches!(self.store.size(digest), Ok(Some(size)) if size == self.written) {
            return false;
        }
        self.written > LOOKED_THROUGH || self.store.reads_whole(digest)
    }

    /// How many bytes have been appended.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }

    fn discard(&mut self) {
        if let Some(path) = self.path.take() {
            // The next start removes what cannot be removed now.
            let _ = fs::remove_file(path);
        }
    }
}

impl Write for Ingest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        self.discard();
    }
}

fn sync_parent(path: &Path) -> Result<(), ContentError> {
    let parent = path.parent().expect("a blob lies in a folder");
    File::open(parent)
        .and_then(|dir| dir.sync_all())
        .map_err(ContentError::io("syncing", parent))
}
