use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use cooper_core::model::Failure;
use cooper_core::ports::{
    Cancelled, Events, ExportRequest, ExportResponse, ExportTarget, ExportTargetRequest, Exporter,
    PacketStream, Sessions,
};

use super::files::{
    FilesAttributes, Part, blocking, cancelled as was_cancelled, infrastructure, of_transfer,
    open_parts, target,
};
use super::progress::Line;
use crate::confine::{Owner, Root};
use crate::fsync::{Differ, ReceiveOptions, SyncError, copy_tree, send};
use crate::snapshot::Snapshots;

/// Puts a result's files into a directory of the client.
pub struct LocalExporter {
    snapshots: Snapshots,
    sessions: Arc<dyn Sessions>,
}

impl LocalExporter {
    /// Exports these states to the directories that these sessions offer.
    #[must_use]
    pub fn new(snapshots: Snapshots, sessions: Arc<dyn Sessions>) -> Self {
        Self {
            snapshots,
            sessions,
        }
    }
}

#[async_trait]
impl Exporter for LocalExporter {
    fn kind(&self) -> &str {
        "local"
    }

    fn describe(&self, attributes: &BTreeMap<String, String>) -> Result<String, Failure> {
        FilesAttributes::parse(attributes)?;
        Ok("exporting to client directory".into())
    }

    async fn export(
        &self,
        request: ExportRequest,
        events: Events,
        cancelled: Cancelled,
    ) -> Result<ExportResponse, Failure> {
        let attributes = FilesAttributes::parse(&request.attributes)?;
        let wanted = ExportTargetRequest {
            exporter: request.index,
            directory: true,
            metadata: BTreeMap::new(),
        };
        let sessions = request.sessions.clone();
        let (snapshots, delete) = (self.snapshots.clone(), attributes.delete);
        let parts = blocking(move || open_parts(&snapshots, &request, &attributes)).await?;
        let mut cancelled = cancelled;
        let target = tokio::select! {
            target = target(&self.sessions, &sessions, wanted) => target?,
            () = &mut cancelled => return Err(was_cancelled()),
        };
        match target {
            ExportTarget::Directory(directory) => {
                copy(parts, directory, delete, events, cancelled).await?
            }
            ExportTarget::RemoteDirectory(stream) => {
                tokio::select! {
                    sent = transfer(parts, stream, delete, &events) => sent?,
                    () = &mut cancelled => return Err(was_cancelled()),
                }
            }
            ExportTarget::Stream(_) => {
                return Err(infrastructure(
                    &"the client offers a stream where a directory is wanted",
                ));
            }
        }
        Ok(ExportResponse::new())
    }
}

/// Copies to a directory of this machine. A cancel takes effect between two files.
async fn copy(
    parts: Vec<Part>,
    directory: PathBuf,
    delete: bool,
    events: Events,
    cancelled: Cancelled,
) -> Result<(), Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let copying = blocking({
        let stop = stop.clone();
        move || {
            parts
                .iter()
                .try_for_each(|part| copy_part(part, &directory, delete, &events, &stop))
        }
    });
    tokio::pin!(copying);
    tokio::select! {
        copied = &mut copying => copied,
        () = cancelled => {
            stop.store(true, Ordering::Relaxed);
            let _ = copying.await;
            Err(was_cancelled())
        }
    }
}

fn copy_part(
    part: &Part,
    directory: &Path,
    delete: bool,
    events: &Events,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    if stop.load(Ordering::Relaxed) {
        return Ok(());
    }
    std::fs::create_dir_all(directory)
        .map_err(|error| infrastructure(&format!("{}: {error}", directory.display())))?;
    let mut root = Root::open(directory).map_err(|error| infrastructure(&error))?;
    if let Some(name) = &part.directory {
        root.mkdir_all(Path::new(name), 0o755, None)
            .map_err(|error| infrastructure(&error))?;
        root = root
            .subroot(Path::new(name))
            .map_err(|error| infrastructure(&error))?;
    }
    let mut line = Line::begin(events, format!("copying files{}", part.label));
    // As BuildKit's clients, who are given the files: they belong to who asked for them.
    let owner = Owner {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    };
    let options = ReceiveOptions {
        merge: !delete,
        differ: Differ::Metadata,
        owner: Some(owner),
    };
    if let Some(tree) = part.tree()? {
        let copied = copy_tree(&tree, root, options, |bytes| {
            line.add(bytes);
            if stop.load(Ordering::Relaxed) {
                Err(SyncError::Cancelled)
            } else {
                Ok(())
            }
        });
        copied.map_err(|error| of_transfer(&error))?;
    }
    line.end();
    Ok(())
}

async fn transfer(
    parts: Vec<Part>,
    mut stream: Box<dyn PacketStream>,
    delete: bool,
    events: &Events,
) -> Result<(), Failure> {
    if delete {
        return Err(Failure::unsupported(
            "mirroring to a directory over a connection (mode=delete)",
        ));
    }
    let [part] = parts.as_slice() else {
        return Err(Failure::unsupported(
            "exporting several platforms to a directory over a connection",
        ));
    };
    if part.directory.is_some() {
        return Err(Failure::unsupported(
            "platform-split to a directory over a connection",
        ));
    }
    let mut line = Line::begin(events, format!("copying files{}", part.label));
    if let Some(tree) = part.tree()? {
        send(stream.as_mut(), tree, &mut |bytes| line.add(bytes))
            .await
            .map_err(|error| of_transfer(&error))?;
    }
    line.end();
    Ok(())
}
