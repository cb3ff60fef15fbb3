use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use cooper_core::model::{Failure, FailureKind, OpEvent, Pin, ResultId, SessionId, Status};
use cooper_core::ports::{
    Cancelled, Events, LocalDir, OpRequest, PacketStream, Session, Sessions, SourceKey,
    SourceKeyRequest,
};
use cooper_proto::fsutil::Packet;

use super::local_attributes::LocalWanted;
use super::local_mirror::{Mirror, MirrorError};
use crate::checksum::ContentSums;
use crate::confine::Root;
use crate::fsync::{Changes, MadeToo, ReceiveOptions, SyncError, Tree, copy_tree, receive};
use crate::gc::{FolderKind, FolderLocks, FolderRoom, Ledger};
use crate::snapshot::Snapshots;
use crate::state::StateDir;

const MIRRORS: FolderKind = FolderKind {
    record_type: "source.local",
    description: "local source",
};

/// Clients' directories as inputs of builds: `local://`.
///
/// # Model
/// Each directory has a mirror that is made equal to it, fetching only what differs; a result is a snapshot of the
/// mirror. A directory that did not change gives the same result again and copies nothing. Syncs of one mirror wait
/// for each other.
#[derive(Clone)]
pub struct LocalSource {
    snapshots: Snapshots,
    sums: ContentSums,
    sessions: Arc<dyn Sessions>,
    mirrors: PathBuf,
    locks: FolderLocks,
    ledger: Ledger,
}

impl LocalSource {
    /// The directories that the clients of a worker offer.
    #[must_use]
    pub fn new(
        state: &StateDir,
        snapshots: &Snapshots,
        sums: &ContentSums,
        sessions: Arc<dyn Sessions>,
    ) -> Self {
        Self {
            snapshots: snapshots.clone(),
            sums: sums.clone(),
            sessions,
            mirrors: state.local_mirrors(),
            locks: FolderLocks::default(),
            ledger: Ledger::new(snapshots.meta(), "mirror-1"),
        }
    }

    /// The mirrors, to be let go.
    #[must_use]
    pub fn room(&self) -> FolderRoom {
        FolderRoom::new(&self.mirrors, &self.locks, &self.ledger, MIRRORS)
    }

    /// The key of a directory: of the session that has it, so that it never matches another build's. What is in it
    /// counts by its content, where it is used.
    ///
    /// # Errors
    /// `InvalidInput` without a session, or for attributes that cannot be read.
    pub fn key(&self, request: &SourceKeyRequest) -> Result<SourceKey, Failure> {
        let wanted = LocalWanted::of_op(&request.op)?;
        let session = match &wanted.session {
            Some(session) => session.clone(),
            None => first(&request.sessions)?.0.clone(),
        };
        Ok(SourceKey {
            key: wanted.key(&session),
            pin: Pin::default(),
            more: false,
        })
    }

    /// Makes a result of a directory, pinned once.
    ///
    /// # Errors
    /// `NotFound` when no session offers the directory; `InvalidInput` when the client breaks the protocol.
    ///
    /// # Cancel
    /// When `cancelled` completes first, nothing writes to the mirror any more when this returns.
    pub async fn run(
        &self,
        request: &OpRequest,
        events: &Events,
        cancelled: Cancelled,
    ) -> Result<Vec<ResultId>, Failure> {
        let wanted = LocalWanted::of_op(&request.op)?;
        let session = self.session(&wanted, &request.sessions).await?;
        let key = format!(
            "{}:{}:{}{}",
            wanted.name,
            wanted.shared_key_hint,
            session.shared_key(),
            wanted.metadata_but.as_ref().map_or("", |_| ":metadata"),
        );
        let made = wanted.metadata_but.as_deref().map(MadeToo::new);
        let only_listed_but = made.transpose()?;
        let name = Mirror::name(&key);
        let lock = self.locks.lock().entry(name.clone()).or_default().clone();
        let _guard = lock.lock_owned().await;
        let description = format!("local source for {}", wanted.name);
        self.ledger.note(&name, &description);
        let directory = session.local_dir(&wanted.name, &wanted.filter).await?;
        let sync = Sync {
            source: self.clone(),
            mirror: blocking({
                let mirrors = self.mirrors.clone();
                move || Ok(Mirror::open(&mirrors, &name)?)
            })
            .await?,
            wanted,
            only_listed_but,
            description,
            events: events.clone(),
        };
        let result = match directory {
            LocalDir::OnDisk(path) => sync.read_disk(path, cancelled).await?,
            LocalDir::Remote(stream) => sync.ask_client(stream, cancelled).await?,
        };
        Ok(vec![result])
    }

    /// The session that the op names, or else the first of the build's that is there.
    async fn session(
        &self,
        wanted: &LocalWanted,
        sessions: &[SessionId],
    ) -> Result<Arc<dyn Session>, Failure> {
        let named = wanted.session.iter().cloned().map(SessionId);
        let mut failure = None;
        for session in named.chain(sessions.iter().cloned()) {
            match self.sessions.session(&session).await {
                Ok(session) => return Ok(session),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match failure {
            Some(failure) => Err(failure),
            None => Err(no_session()),
        }
    }
}

fn first(sessions: &[SessionId]) -> Result<&SessionId, Failure> {
    sessions.first().ok_or_else(no_session)
}

fn no_session() -> Failure {
    Failure::new(
        FailureKind::InvalidInput,
        "could not access local files without session",
    )
}

/// One sync of one mirror.
struct Sync {
    source: LocalSource,
    mirror: Mirror,
    wanted: LocalWanted,
    only_listed_but: Option<MadeToo>,
    description: String,
    events: Events,
}

impl Sync {
    async fn read_disk(self, path: PathBuf, cancelled: Cancelled) -> Result<ResultId, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let task = blocking({
            let stop = stop.clone();
            move || self.copy_from(&path, &stop)
        });
        tokio::pin!(task);
        tokio::select! {
            result = &mut task => result,
            () = cancelled => {
                stop.store(true, Ordering::Relaxed);
                task.await
            }
        }
    }

    fn copy_from(self, path: &Path, stop: &AtomicBool) -> Result<ResultId, Failure> {
        let mut progress = Progress::new(&self.wanted.name, self.events.clone());
        let tree = Tree::new(
            Root::open(path).map_err(SyncError::from)?,
            &self.wanted.filter,
        )?
        .owned_by_root();
        let changes = copy_tree(&tree, self.mirror.begin()?, self.options(), |bytes| {
            if stop.load(Ordering::Relaxed) {
                return Err(SyncError::Cancelled);
            }
            progress.add(bytes);
            Ok(())
        })?;
        progress.end();
        self.keep(&changes)
    }

    async fn ask_client(
        self,
        stream: Box<dyn PacketStream>,
        cancelled: Cancelled,
    ) -> Result<ResultId, Failure> {
        let mut stream = Stoppable {
            stream,
            cancelled: Some(cancelled),
        };
        let mut progress = Progress::new(&self.wanted.name, self.events.clone());
        let root = self.mirror.begin()?;
        let mut count = |bytes| progress.add(bytes);
        let changes = receive(&mut stream, root, self.options(), &mut count).await?;
        progress.end();
        blocking(move || self.keep(&changes)).await
    }

    fn options(&self) -> ReceiveOptions {
        ReceiveOptions {
            differ: self.wanted.differ,
            only_listed_but: self.only_listed_but.clone(),
            ..ReceiveOptions::default()
        }
    }

    fn keep(mut self, changes: &Changes) -> Result<ResultId, Failure> {
        let source = &self.source;
        let kept = self
            .mirror
            .keep(&source.snapshots, &source.sums, changes, &self.description);
        Ok(kept?)
    }
}

impl From<MirrorError> for Failure {
    fn from(error: MirrorError) -> Self {
        match error {
            MirrorError::Sync(error) => error.into(),
            error => Self::new(FailureKind::Infrastructure, error.to_string()),
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Failure::new(FailureKind::Internal, error.to_string())))
}

/// Says how much was transferred, not more often than is worth a message.
struct Progress {
    id: String,
    events: Events,
    current: u64,
    said: u64,
}

const STEP_BYTES: u64 = 1 << 20;

/// BuildKit's word, by which its clients' programs find how much was sent.
const TRANSFERRING: &str = "transferring";

impl Progress {
    fn new(name: &str, events: Events) -> Self {
        let progress = Self {
            id: format!("{TRANSFERRING} {name}:"),
            events,
            current: 0,
            said: 0,
        };
        progress.say(false);
        progress
    }

    fn add(&mut self, bytes: u64) {
        self.current += bytes;
        if self.current - self.said >= STEP_BYTES {
            self.said = self.current;
            self.say(false);
        }
    }

    fn end(&self) {
        self.say(true);
    }

    fn say(&self, completed: bool) {
        self.events.emit(OpEvent::Status(Status {
            id: self.id.clone(),
            action: TRANSFERRING.to_owned(),
            current: self.current,
            completed,
            ..Status::default()
        }));
    }
}

/// A stream that fails once its user gives up, so that whoever reads it cleans up and returns.
struct Stoppable {
    stream: Box<dyn PacketStream>,
    /// `None` once it has completed.
    cancelled: Option<Cancelled>,
}

#[async_trait]
impl PacketStream for Stoppable {
    async fn send(&mut self, packet: Packet) -> Result<(), Failure> {
        self.stream.send(packet).await
    }

    async fn receive(&mut self) -> Result<Option<Packet>, Failure> {
        let cancelled = Failure::new(FailureKind::Cancelled, "cancelled");
        let Some(stop) = &mut self.cancelled else {
            return Err(cancelled);
        };
        tokio::select! {
            packet = self.stream.receive() => packet,
            () = stop => {
                self.cancelled = None;
                Err(cancelled)
            }
        }
    }
}
