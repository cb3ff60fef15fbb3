use cooper_core::{
    model::{Failure, FailureKind, OpEvent, Status},
    ports::{ChunkSink, Events},
};
use cooper_proto::Digest;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt;

use crate::{
    content::ContentStore,
    images::content_failure,
    layer::archive::{ArchiveWriter, Header},
};

const CHUNK_BYTES: usize = 1 << 20;
const BLOCK: u64 = 512;
const STATUS: &str = "sending tarball";

/// A file of an archive of images.
pub(super) enum Content {
    Directory,
    Bytes(Vec<u8>),
    Blob { digest: Digest, size: u64 },
}

/// Sends files as a tar archive to a client, sorted by name, with no times: equal images give
/// equal archives.
///
/// # Errors
/// When the client goes away, or a blob is not what its name says any more.
pub(super) async fn send(
    content: &ContentStore,
    mut files: Vec<(String, Content)>,
    mut sink: Box<dyn ChunkSink>,
    events: &Events,
) -> Result<(), Failure> {
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files.dedup_by(|a, b| a.0 == b.0);
    let mut progress = Progress {
        events,
        total: files.iter().map(|(_, content)| size(content)).sum(),
        current: 0,
    };
    progress.tell(false);
    for (name, file) in &files {
        sink.send(header(name, file)?.into()).await?;
        match file {
            Content::Directory => continue,
            Content::Bytes(bytes) => sink.send(bytes.clone().into()).await?,
            Content::Blob { digest, .. } => {
                send_blob(content, digest, &mut *sink, &mut progress).await?;
            }
        }
        let padding = size(file).wrapping_neg() % BLOCK;
        let padding = usize::try_from(padding).unwrap_or_default();
        if padding > 0 {
            sink.send(vec![0; padding].into()).await?;
        }
    }
    // Two empty blocks are the end of an archive.
    sink.send(vec![0; 2 * 512].into()).await?;
    sink.finish().await?;
    progress.tell(true);
    Ok(())
}

struct Progress<'a> {
    events: &'a Events,
    total: u64,
    current: u64,
}

impl Progress<'_> {
    fn tell(&self, completed: bool) {
        self.events.emit(OpEvent::Status(Status {
            id: STATUS.to_owned(),
            current: self.current,
            total: self.total,
            completed,
            ..Status::default()
        }));
    }
}

fn size(content: &Content) -> u64 {
    match content {
        Content::Directory => 0,
        Content::Bytes(bytes) => bytes.len() as u64,
        Content::Blob { size, .. } => *size,
    }
}

fn header(name: &str, content: &Content) -> Result<Vec<u8>, Failure> {
    let (flag, mode) = match content {
        Content::Directory => (b'5', 0o755),
        Content::Bytes(_) | Content::Blob { .. } => (b'0', 0o444),
    };
    let header = Header {
        name: name.as_bytes().to_vec(),
        flag,
        mode,
        size: size(content),
        ..Header::default()
    };
    let mut bytes = Vec::new();
    ArchiveWriter::new(&mut bytes)
        .entry(&header)
        .map_err(|error| Failure::new(FailureKind::Internal, format!("{name}: {error}")))?;
    Ok(bytes)
}

async fn send_blob(
    content: &ContentStore,
    digest: &Digest,
    sink: &mut dyn ChunkSink,
    progress: &mut Progress<'_>,
) -> Result<(), Failure> {
    let stored = |error| content_failure(&error);
    let mut file = content.async_reader(digest).map_err(stored)?;
    let mut hasher = Sha256::new();
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let read = file.read_buf(&mut chunk).await;
        let read = read.map_err(|error| stored(crate::content::ContentError::Source(error)))?;
        if read == 0 {
            break;
        }
        hasher.update(&chunk);
        progress.current += read as u64;
        sink.send(chunk.into()).await?;
        progress.tell(false);
    }
    let found = Digest::new(cooper_proto::Algorithm::Sha256, &hasher.finalize());
    // Other algorithms were checked when the blob entered.
    let is_sha256 = digest.algorithm() == cooper_proto::Algorithm::Sha256;
    match found {
        Ok(found) if is_sha256 && found != *digest => {
            content.verify(digest).map_err(stored)?;
            Err(Failure::new(
                FailureKind::Infrastructure,
                format!("blob {digest} changed while it was sent"),
            ))
        }
        _ => Ok(()),
    }
}
