use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use cooper_core::model::{Failure, SessionId};
use cooper_core::ports::{
    Cancelled, Events, ExportRequest, ExportResponse, ExportTarget, ExportTargetRequest, Exporter,
    FileStat, PacketStream, Sessions,
};

use super::files::{
    FilesAttributes, Part, blocking, cancelled as was_cancelled, infrastructure, of_transfer,
    open_with_statements, target,
};
use super::progress::Line;
use crate::confine::{Kind, Last, Owner, Root, Time};
use crate::fsync::{
    Added, Differ, Entries, Folders, ReceiveOptions, SyncError, copy_tree, mode, send,
};
use crate::snapshot::Snapshots;

/// Header by which a client knows that one transfer has all platforms (parity sheet C2).
const MULTI_PLATFORM: &str = "buildkit-exporter-multi-platform";

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
            metadata: match attributes.delete {
                // What a client that mirrors wants to hear: that all platforms come at once.
                true => [(MULTI_PLATFORM.to_owned(), "1".to_owned())].into(),
                false => BTreeMap::new(),
            },
        };
        let sessions = request.sessions.clone();
        let delete = attributes.delete;
        let mut cancelled = cancelled;
        let parts = tokio::select! {
            parts = open_with_statements(&self.snapshots, request, attributes) => parts?,
            () = &mut cancelled => return Err(was_cancelled()),
        };
        let first = tokio::select! {
            target = target(&self.sessions, &sessions, wanted.clone()) => target?,
            () = &mut cancelled => return Err(was_cancelled()),
        };
        match first {
            ExportTarget::Directory(directory) => {
                copy(parts, directory, delete, events, cancelled).await?
            }
            ExportTarget::RemoteDirectory(stream) => {
                let transfer = Transfer {
                    sessions: &self.sessions,
                    ids: &sessions,
                    wanted,
                    events: &events,
                };
                tokio::select! {
                    sent = transfer.run(parts, stream, delete) => sent?,
                    () = &mut cancelled => return Err(was_cancelled()),
                }
            }
            ExportTarget::Stream(_) => return Err(no_directory()),
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
            if delete {
                remove_others(&parts, &directory)?;
            }
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

/// Removes what is beside the platforms' directories.
fn remove_others(parts: &[Part], directory: &Path) -> Result<(), Failure> {
    let names: Vec<&String> = parts
        .iter()
        .filter_map(|part| part.directory.as_ref())
        .collect();
    if names.is_empty() {
        return match parts {
            [] | [_] => Ok(()),
            _ => Err(Failure::unsupported(
                "mirroring several platforms into one directory (mode=delete with platform-split=false)",
            )),
        };
    }
    let root = match Root::open(directory) {
        Err(error) if error.is_not_found() => return Ok(()),
        root => root.map_err(|error| infrastructure(&error))?,
    };
    let entries = root.read_dir(Path::new("/"));
    for entry in entries.map_err(|error| infrastructure(&error))? {
        if !names.iter().any(|name| entry.name == ***name) {
            let removed = root.remove_all(entry.name.as_ref());
            removed.map_err(|error| infrastructure(&error))?;
        }
    }
    Ok(())
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
        only_listed_but: None,
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
    // The tree went into a root of its own, which it was moved into.
    for added in part.added() {
        let bytes = write_added(directory, part, added, owner)?;
        line.add(bytes);
    }
    line.end();
    Ok(())
}

/// Writes a file that the result does not have.
fn write_added(directory: &Path, part: &Part, added: &Added, owner: Owner) -> Result<u64, Failure> {
    let failed = |error: &dyn std::fmt::Display| infrastructure(error);
    let mut root = Root::open(directory).map_err(|error| failed(&error))?;
    if let Some(name) = &part.directory {
        root = root
            .subroot(Path::new(name))
            .map_err(|error| failed(&error))?;
    }
    let path = Path::new(&added.stat.path);
    match root.remove_all(path) {
        Err(error) if !error.is_not_found() => return Err(failed(&error)),
        _ => {}
    }
    let mut file = root
        .create_file(path, 0o600)
        .map_err(|error| failed(&error))?;
    std::io::Write::write_all(&mut file, &added.bytes).map_err(|error| failed(&error))?;
    let node = root
        .resolve(path, Last::NoFollow)
        .map_err(|error| failed(&error))?;
    let time = Time {
        seconds: added.stat.mod_time.div_euclid(1_000_000_000),
        nanos: u32::try_from(added.stat.mod_time.rem_euclid(1_000_000_000)).unwrap_or(0),
    };
    node.set_owner(owner)
        .and_then(|()| node.set_times(time, time))
        .map_err(|error| failed(&error))?;
    Ok(added.bytes.len() as u64)
}

/// Sends to a directory at the other end of a connection.
struct Transfer<'a> {
    sessions: &'a Arc<dyn Sessions>,
    ids: &'a [SessionId],
    wanted: ExportTargetRequest,
    events: &'a Events,
}

impl Transfer<'_> {
    /// A stream a platform, and one for all where the client mirrors, so that nothing of one platform is taken for
    /// something to remove.
    async fn run(
        &self,
        parts: Vec<Part>,
        first: Box<dyn PacketStream>,
        delete: bool,
    ) -> Result<(), Failure> {
        if delete {
            return self.mirror(&parts, first).await;
        }
        let mut first = Some(first);
        for part in &parts {
            let stream = match first.take() {
                Some(stream) => stream,
                None => match target(self.sessions, self.ids, self.wanted.clone()).await? {
                    ExportTarget::RemoteDirectory(stream) => stream,
                    ExportTarget::Directory(_) | ExportTarget::Stream(_) => {
                        return Err(no_directory());
                    }
                },
            };
            let label = format!("copying files{}", part.label);
            let entries = part.entries()?;
            match folder(part) {
                Some(folder) => {
                    let folders = Folders::new(vec![(folder, entries)]);
                    self.send(stream, folders, label).await?;
                }
                None => self.send(stream, entries, label).await?,
            }
        }
        Ok(())
    }

    async fn mirror(&self, parts: &[Part], stream: Box<dyn PacketStream>) -> Result<(), Failure> {
        let label = "copying files".to_owned();
        let mut folders = Vec::with_capacity(parts.len());
        for part in parts {
            match (folder(part), parts) {
                (Some(folder), _) => folders.push((folder, part.entries()?)),
                (None, [only]) => return self.send(stream, only.entries()?, label).await,
                (None, _) => {
                    return Err(Failure::unsupported(
                        "mirroring several platforms into one directory (mode=delete with platform-split=false)",
                    ));
                }
            }
        }
        self.send(stream, Folders::new(folders), label).await
    }

    async fn send(
        &self,
        mut stream: Box<dyn PacketStream>,
        entries: impl Entries,
        label: String,
    ) -> Result<(), Failure> {
        let mut line = Line::begin(self.events, label);
        send(stream.as_mut(), entries, &mut |bytes| line.add(bytes))
            .await
            .map_err(|error| of_transfer(&error))?;
        line.end();
        Ok(())
    }
}

/// The directory that a platform's files go to.
fn folder(part: &Part) -> Option<FileStat> {
    Some(FileStat {
        path: part.directory.clone()?,
        mode: mode::to_go(Kind::Directory, 0o755),
        mod_time: part.mod_time.unwrap_or_default(),
        ..FileStat::default()
    })
}

fn no_directory() -> Failure {
    infrastructure(&"the client offers a stream where a directory is wanted")
}
