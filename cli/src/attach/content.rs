use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::{ClientContent, ContentReader, ContentWriter};
use cooper_proto::Digest;
use tokio::io::AsyncReadExt;

/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;

/// A folder with blobs as an OCI image layout has them. Its index is for who made it.
pub(super) struct FolderContent {
    folder: PathBuf,
}

impl FolderContent {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let algorithm = self.folder.join("blobs").join(digest.algorithm().name());
        algorithm.join(digest.hex())
    }
}

#[async_trait]
impl ClientContent for FolderContent {
    async fn size(&self, digest: &Digest) -> Result<Option<u64>, Failure> {
        let path = self.path(digest);
        match fs::metadata(&path) {
            Ok(found) => Ok(Some(found.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path, &error)),
        }
    }

    async fn read(&self, digest: &Digest) -> Result<Box<dyn ContentReader>, Failure> {
        let path = self.path(digest);
        match tokio::fs::File::open(&path).await {
            Ok(file) => Ok(Box::new(Reading { file, path })),
            Err(error) => Err(failed(&path, &error)),
        }
    }

    async fn write(
        &self,
        digest: &Digest,
        _size: u64,
    ) -> Result<Option<Box<dyn ContentWriter>>, Failure> {
        let path = self.path(digest);
        if path.exists() {
            return Ok(None);
        }
        let folder = path.parent().unwrap_or(&self.folder).to_path_buf();
        let made = fs::create_dir_all(&folder);
        let made = made.and_then(|()| tempfile::NamedTempFile::new_in(&folder));
        let file = made.map_err(|error| failed(&folder, &error))?;
        Ok(Some(Box::new(Writing {
            file,
            path,
            digest: digest.clone(),
        })))
    }
}

struct Reading {
    file: tokio::fs::File,
    path: PathBuf,
}

#[async_trait]
impl ContentReader for Reading {
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let mut part = Vec::with_capacity(CHUNK);
        let reading = (&mut self.file).take(CHUNK as u64);
        tokio::pin!(reading);
        let read = reading.read_to_end(&mut part).await;
        match read.map_err(|error| failed(&self.path, &error))? {
            0 => Ok(None),
            _ => Ok(Some(part.into())),
        }
    }
}

struct Writing {
    file: tempfile::NamedTempFile,
    path: PathBuf,
    digest: Digest,
}

#[async_trait]
impl ContentWriter for Writing {
    async fn write(&mut self, part: Bytes) -> Result<(), Failure> {
        let written = self.file.write_all(&part);
        written.map_err(|error| failed(&self.path, &error))
    }

    async fn commit(self: Box<Self>) -> Result<(), Failure> {
        use std::os::unix::fs::PermissionsExt;
        let Self { file, path, digest } = *self;
        let kept = tokio::task::spawn_blocking(move || {
            let bytes = fs::read(file.path())?;
            if !digest.matches(&bytes) {
                return Err(io::Error::other(format!("what arrived is not {digest}")));
            }
            file.as_file()
                .set_permissions(fs::Permissions::from_mode(0o644))?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok(())
        });
        match kept.await {
            Ok(kept) => kept.map_err(|error| failed(Path::new("a blob"), &error)),
            Err(error) => Err(Failure::new(FailureKind::Internal, error.to_string())),
        }
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => FailureKind::NotFound,
        _ => FailureKind::Infrastructure,
    };
    Failure::new(kind, format!("{}: {error}", path.display()))
}
