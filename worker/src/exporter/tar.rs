use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::Failure;
use cooper_core::ports::{
    Cancelled, ChunkSink, Events, ExportRequest, ExportResponse, ExportTarget, ExportTargetRequest,
    Exporter, FileStat, Sessions,
};
use tokio::sync::mpsc;

use super::files::{
    FilesAttributes, Part, blocking, cancelled as was_cancelled, infrastructure,
    open_with_statements, target,
};
use super::progress::Line;
use crate::confine::{Kind, Node};
use crate::fsync::{SyncError, mode};
use crate::layer::archive::{ArchiveWriter, Header};
use crate::snapshot::Snapshots;

/// Sends a result's files to the client as one archive.
pub struct TarExporter {
    snapshots: Snapshots,
    sessions: Arc<dyn Sessions>,
}

impl TarExporter {
    /// Exports these states to the streams that these sessions offer.
    #[must_use]
    pub fn new(snapshots: Snapshots, sessions: Arc<dyn Sessions>) -> Self {
        Self {
            snapshots,
            sessions,
        }
    }
}

#[async_trait]
impl Exporter for TarExporter {
    fn kind(&self) -> &str {
        "tar"
    }

    fn describe(&self, attributes: &BTreeMap<String, String>) -> Result<String, Failure> {
        FilesAttributes::parse(attributes)?;
        Ok("exporting to client tarball".into())
    }

    async fn export(
        &self,
        request: ExportRequest,
        events: Events,
        mut cancelled: Cancelled,
    ) -> Result<ExportResponse, Failure> {
        let attributes = FilesAttributes::parse(&request.attributes)?;
        let wanted = ExportTargetRequest {
            exporter: request.index,
            directory: false,
            metadata: BTreeMap::new(),
        };
        let (sessions, now_ns) = (request.sessions.clone(), request.now_ns);
        let directory_time = i64::try_from(now_ns).unwrap_or(i64::MAX);
        let opening = open_with_statements(&self.snapshots, request, attributes);
        let parts = tokio::select! {
            parts = opening => parts?,
            () = &mut cancelled => return Err(was_cancelled()),
        };
        let sent = async {
            let ExportTarget::Stream(sink) = target(&self.sessions, &sessions, wanted).await?
            else {
                return Err(infrastructure(
                    &"the client offers a directory where a stream is wanted",
                ));
            };
            send(parts, directory_time, sink, &events).await
        };
        tokio::select! {
            sent = sent => sent?,
            () = &mut cancelled => return Err(was_cancelled()),
        }
        Ok(ExportResponse::new())
    }
}

/// Bytes that travel at once, and how many such pieces wait for a slow client.
const CHUNK: usize = 64 << 10;
const WAITING: usize = 16;

/// Writes the archive on a thread of its own, and hands the pieces on as the client takes them.
///
/// Dropped, it makes the writer fail at its next piece.
async fn send(
    parts: Vec<Part>,
    directory_time: i64,
    mut sink: Box<dyn ChunkSink>,
    events: &Events,
) -> Result<(), Failure> {
    let (pieces, mut to_send) = mpsc::channel(WAITING);
    let writing = blocking(move || write(&parts, directory_time, pieces));
    let sending = async {
        let mut line = Line::begin(events, "sending tarball".into());
        while let Some(piece) = to_send.recv().await {
            let piece: Bytes = piece;
            line.add(piece.len() as u64);
            sink.send(piece).await?;
        }
        Ok::<_, Failure>(line)
    };
    let (line, ()) = tokio::try_join!(sending, writing)?;
    // An archive is only ended where all of it was written.
    sink.finish().await?;
    line.end();
    Ok(())
}

fn write(parts: &[Part], directory_time: i64, pieces: mpsc::Sender<Bytes>) -> Result<(), Failure> {
    let mut archive = ArchiveWriter::new(BufWriter::with_capacity(CHUNK, Pieces(pieces)));
    for part in parts {
        let prefix = part
            .directory
            .as_ref()
            .map(|name| format!("{name}/"))
            .unwrap_or_default();
        if !prefix.is_empty() {
            let header = Header {
                name: prefix.clone().into_bytes(),
                flag: b'5',
                mode: 0o755,
                mtime: rounded_seconds(part.mod_time.unwrap_or(directory_time)),
                ..Header::default()
            };
            archive
                .entry(&header)
                .map_err(|error| infrastructure(&error))?;
        }
        for added in part.added() {
            let header = Header {
                name: format!("{prefix}{}", added.stat.path).into_bytes(),
                flag: b'0',
                mode: 0o600,
                size: added.bytes.len() as u64,
                mtime: rounded_seconds(added.stat.mod_time),
                ..Header::default()
            };
            archive
                .file(&header, added.bytes.as_slice())
                .map_err(|error| infrastructure(&error))?;
        }
        let Some(tree) = part.tree()? else { continue };
        tree.walk::<SyncError>(|stat, node| {
            add(&mut archive, &prefix, &stat, node).map_err(|source| SyncError::Content {
                path: stat.path.clone(),
                source,
            })
        })
        .map_err(|error| infrastructure(&error))?;
    }
    archive
        .finish()
        .and_then(|mut output| output.flush())
        .map_err(|error| infrastructure(&error))
}

fn add(
    archive: &mut ArchiveWriter<impl Write>,
    prefix: &str,
    stat: &FileStat,
    node: Option<&Node>,
) -> io::Result<()> {
    let kind = mode::kind(stat.mode).ok_or(io::ErrorKind::InvalidData)?;
    let is_link = !stat.linkname.is_empty() && kind != Kind::Symlink;
    let flag = match kind {
        _ if is_link => b'1',
        Kind::File | Kind::Socket => b'0',
        Kind::Symlink => b'2',
        Kind::CharDevice => b'3',
        Kind::BlockDevice => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    };
    let link = if is_link {
        format!("{prefix}{}", stat.linkname)
    } else {
        stat.linkname.clone()
    };
    let slash = if kind == Kind::Directory { "/" } else { "" };
    let device = |number: i64| u64::try_from(number).unwrap_or(0);
    let header = Header {
        name: format!("{prefix}{}{slash}", stat.path).into_bytes(),
        flag,
        mode: mode::permissions(stat.mode),
        uid: stat.uid.into(),
        gid: stat.gid.into(),
        size: if flag == b'0' {
            u64::try_from(stat.size).unwrap_or(0)
        } else {
            0
        },
        mtime: rounded_seconds(stat.mod_time),
        link: link.into_bytes(),
        device_major: device(stat.devmajor),
        device_minor: device(stat.devminor),
        records: stat
            .xattrs
            .iter()
            .map(|(name, value)| (format!("SCHILY.xattr.{name}"), value.clone()))
            .collect(),
    };
    // Sockets travel as files; there is nothing to read in them.
    let is_file = |node: &Node| node.metadata().is_ok_and(|found| found.kind == Kind::File);
    match node {
        Some(node) if flag == b'0' && is_file(node) => archive.file(&header, node.open_read()?),
        _ => archive.entry(&Header { size: 0, ..header }),
    }
}

/// As Go's writer, which BuildKit uses, rounds a time for a header without fractions: halves go up.
fn rounded_seconds(nanoseconds: i64) -> i64 {
    nanoseconds
        .saturating_add(500_000_000)
        .div_euclid(1_000_000_000)
}

/// Hands on what is written, waiting while the client is behind.
struct Pieces(mpsc::Sender<Bytes>);

impl Write for Pieces {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(buffer);
        self.0
            .blocking_send(piece)
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
