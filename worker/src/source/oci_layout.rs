use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind};
use cooper_proto::{Digest, oci::Descriptor};

use super::image_resolve::media_type_of;
use crate::{
    confine::{ConfineError, Root},
    content::{ContentStore, Expected, VerifiedBlob},
    images::{Documents, content_failure},
    limits::Limits,
};

/// An OCI image layout in a directory of this machine.
///
/// Its files are somebody else's: links in it lead nowhere but inside, only regular files
/// are read, and all bytes are hashed.
#[derive(Clone)]
pub(crate) struct Layout {
    root: Arc<Root>,
    path: PathBuf,
}

impl Layout {
    /// Opens a layout.
    ///
    /// # Errors
    /// `NotFound` when the directory is none or has no `oci-layout` file.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let layout = Self {
            root: Arc::new(Root::open(path).map_err(|error| refused(path, &error))?),
            path: path.to_owned(),
        };
        layout.small("oci-layout", 4096)?;
        Ok(layout)
    }

    /// `index.json`'s bytes.
    pub(crate) fn index(&self, limits: &Limits) -> Result<Vec<u8>, Failure> {
        self.small("index.json", limits.manifest_bytes)
    }

    /// The descriptor of a document by its digest alone.
    pub(super) async fn describe(
        &self,
        digest: &Digest,
        limits: &Limits,
    ) -> Result<Descriptor, Failure> {
        let bytes = self.small(&blob_path(digest), limits.manifest_bytes)?;
        let descriptor = Descriptor::new(media_type_of(&bytes), digest.clone(), bytes.len() as u64);
        self.check(&descriptor, &bytes)?;
        Ok(descriptor)
    }

    /// Copies a blob into the content store.
    ///
    /// # Errors
    /// When it is not there or is not what its name says.
    pub(crate) fn copy_blob(
        &self,
        content: &ContentStore,
        (digest, size): (&Digest, u64),
        progress: &mut dyn FnMut(u64),
    ) -> Result<VerifiedBlob, Failure> {
        let name = blob_path(digest);
        let mut file = self
            .root
            .open_read(Path::new(&name))
            .map_err(|error| refused(&self.path.join(&name), &error))?;
        let stored = |error| content_failure(&error);
        let mut ingest = content
            .ingest(Expected::described(digest.clone(), size))
            .map_err(stored)?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = file
                .read(&mut buffer)
                .map_err(|error| content_failure(&crate::content::ContentError::Source(error)))?;
            if read == 0 {
                return ingest.commit().map_err(stored);
            }
            ingest.append(&buffer[..read]).map_err(stored)?;
            progress(ingest.written());
        }
    }

    /// Opens a blob, whatever is in it.
    pub(super) fn open_blob(&self, digest: &Digest) -> Result<std::fs::File, Failure> {
        let name = blob_path(digest);
        self.root
            .open_read(Path::new(&name))
            .map_err(|error| refused(&self.path.join(&name), &error))
    }

    fn small(&self, name: &str, cap: u64) -> Result<Vec<u8>, Failure> {
        self.root
            .read_small(Path::new(name), cap)
            .map_err(|error| refused(&self.path.join(name), &error))
    }

    fn check(&self, descriptor: &Descriptor, bytes: &[u8]) -> Result<(), Failure> {
        if bytes.len() as u64 == descriptor.size && descriptor.digest.matches(bytes) {
            return Ok(());
        }
        Err(Failure::new(
            FailureKind::InvalidInput,
            format!(
                "{} is not what its name says",
                self.path.join(blob_path(&descriptor.digest)).display()
            ),
        ))
    }
}

#[async_trait]
impl Documents for Layout {
    async fn document(&self, descriptor: &Descriptor) -> Result<Bytes, Failure> {
        let bytes = self.small(&blob_path(&descriptor.digest), descriptor.size)?;
        self.check(descriptor, &bytes)?;
        Ok(bytes.into())
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

fn refused(path: &Path, error: &ConfineError) -> Failure {
    let kind = match error.is_not_found() {
        true => FailureKind::NotFound,
        false => FailureKind::InvalidInput,
    };
    Failure::new(kind, format!("OCI layout {}: {error}", path.display()))
}
