use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind, JobId};
use cooper_core::ports::{Blobs, ExportResponse};
use cooper_proto::Digest;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::sync::broadcast;

use super::record::VERSION;
use super::{Record, RecordedBlob, seal};
use crate::progress::replay;
use crate::{Clock, Limits};

/// How many changes a listener may be behind before it misses some.
const CHANGES: usize = 256;

/// Where results came from, by platform.
pub(crate) type Provenances = BTreeMap<String, Vec<RecordedBlob>>;

/// A change of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// The build runs.
    Began(Record),
    /// The build ended, or its record changed afterwards.
    Ended(Record),
    /// The record is gone.
    Forgotten(Record),
}

/// The records and logs of builds, on disk under the engine's folder.
///
/// A name that a client chose is never part of a path: files are named by its digest.
pub(crate) struct History {
    logs: PathBuf,
    folder: PathBuf,
    clock: Clock,
    age_ns: u64,
    entries: usize,
    records: Mutex<BTreeMap<JobId, Record>>,
    blobs: Arc<dyn Blobs>,
    /// Held while blobs of a record are made or let go.
    sealing: tokio::sync::Mutex<()>,
    changes: broadcast::Sender<Change>,
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl History {
    /// Opens the folder: finished records are read; what a killed process left unfinished is removed.
    ///
    /// # Errors
    /// `Infrastructure` when the folder cannot be used.
    pub(crate) fn open(
        state: &Path,
        limits: &Limits,
        clock: Clock,
        blobs: Arc<dyn Blobs>,
    ) -> Result<Self, Failure> {
        let history = Self {
            logs: state.join("logs"),
            folder: state.join("history"),
            clock,
            age_ns: nanoseconds(limits.history_age),
            entries: limits.history_entries,
            records: Mutex::default(),
            blobs,
            sealing: tokio::sync::Mutex::default(),
            changes: broadcast::Sender::new(CHANGES),
        };
        history.load().map_err(|error| {
            Failure::new(
                FailureKind::Infrastructure,
                format!("cannot use the state folder {}: {error}", state.display()),
            )
        })?;
        Ok(history)
    }

    fn load(&self) -> io::Result<()> {
        std::fs::create_dir_all(&self.logs)?;
        std::fs::create_dir_all(&self.folder)?;
        let mut records = self.records.lock();
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            match read(&path) {
                Some(record) => {
                    records.insert(JobId(record.job.clone()), record);
                }
                None => {
                    tracing::warn!(path = %path.display(), "a build's record cannot be read and is dropped");
                    std::fs::remove_file(&path)?;
                }
            }
        }
        let kept: Vec<_> = records.keys().map(|job| self.log_path(job)).collect();
        for entry in std::fs::read_dir(&self.logs)? {
            let path = entry?.path();
            if !kept.contains(&path) {
                std::fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Lets go of blobs of builds that have no record: the process was killed after it kept the blobs and before it
    /// wrote the record. Tells whether there were any.
    ///
    /// # Errors
    /// `Infrastructure` when the holders cannot be listed or let go of.
    pub(crate) async fn let_go_of_lost(&self) -> Result<bool, Failure> {
        let mut any = false;
        for lost in self.blobs.holders(HOLDERS).await? {
            // Looked at anew for each: builds begin meanwhile, with a record before they keep anything.
            let is_known = self.records.lock().keys().any(|job| holder(job) == lost);
            if !is_known {
                self.blobs.let_go(&lost).await?;
                any = true;
            }
        }
        Ok(any)
    }

    /// Where a build's log is.
    pub(crate) fn log_path(&self, job: &JobId) -> PathBuf {
        self.logs.join(format!("{}.progress", file_name(job)))
    }

    /// Notes that a build begins; kept in memory only, since a build does not outlive its process.
    pub(crate) fn begin(&self, record: Record) {
        let job = JobId(record.job.clone());
        self.records.lock().insert(job, record.clone());
        if !record.internal {
            self.tell(Change::Began(record));
        }
    }

    /// Keeps what shows how a build ended: why it failed, and which images it made.
    pub(crate) async fn keep_ending(
        &self,
        record: &mut Record,
        failure: Option<&Failure>,
        exported: &BTreeMap<u32, ExportResponse>,
    ) {
        if record.internal {
            return;
        }
        let holder = holder(&JobId(record.job.clone()));
        if let Some(failure) = failure {
            match seal::keep_error(self.blobs.as_ref(), &holder, failure).await {
                Ok(kept) => record.blobs.error = Some(kept),
                Err(failure) => tracing::warn!(%failure, "a build's error is not kept in full"),
            }
        }
        record.blobs.results = seal::hold_results(self.blobs.as_ref(), &holder, exported).await;
    }

    /// Keeps where a build's results came from: for each its platform, the predicate's type and the predicate.
    ///
    /// # Errors
    /// Why it cannot be kept.
    pub(crate) async fn keep_provenance(
        &self,
        job: &JobId,
        told: Vec<(Option<String>, &'static str, Bytes)>,
    ) -> Result<Provenances, Failure> {
        let mut kept = Provenances::new();
        for (platform, kind, predicate) in told {
            let blobs = self.blobs.as_ref();
            let blob = seal::keep_provenance(blobs, &holder(job), kind, predicate).await?;
            let of_platform = kept.entry(platform.unwrap_or_default()).or_default();
            of_platform.push(blob);
        }
        Ok(kept)
    }

    /// Keeps a finished build's progress and trace, once.
    ///
    /// # Errors
    /// `NotFound` when no finished build has the name, or why it cannot be kept.
    pub(crate) async fn seal(&self, job: &JobId) -> Result<(), Failure> {
        let _one_at_a_time = self.sealing.lock().await;
        let record = self.finished(job)?;
        if record.blobs.sealed {
            return Ok(());
        }
        let (blobs, holder) = (self.blobs.as_ref(), holder(job));
        let progress = replay(self.log_path(job)).await?;
        let logs = seal::keep_logs(blobs, &holder, progress).await?;
        let trace = seal::keep_trace(blobs, &holder, &record).await?;
        let mut record = self.finished(job)?;
        record.blobs.logs = Some(logs);
        record.blobs.trace = Some(trace);
        record.blobs.sealed = true;
        self.change(record).await;
        Ok(())
    }

    async fn change(&self, mut record: Record) {
        record.generation += 1;
        self.keep(record).await;
    }

    /// Writes down how a build ended. What cannot be written is kept in memory and said in the log.
    pub(crate) async fn end(&self, record: Record) {
        if record.internal {
            self.forget(&JobId(record.job)).await;
        } else {
            self.keep(record).await;
        }
        let _one_at_a_time = self.sealing.lock().await;
        for old in self.outdated() {
            self.forget(&old).await;
        }
    }

    async fn keep(&self, record: Record) {
        let job = JobId(record.job.clone());
        if let Err(error) = self.write(&job, &record).await {
            tracing::error!(%job, %error, "a build's record could not be written");
        }
        self.records.lock().insert(job, record.clone());
        self.tell(Change::Ended(record));
    }

    /// Changes whether a finished build's record is kept for good.
    ///
    /// # Errors
    /// `NotFound` when no finished build has the name.
    pub(crate) async fn pin(&self, job: &JobId, pinned: bool) -> Result<(), Failure> {
        let _one_at_a_time = self.sealing.lock().await;
        let mut record = self.finished(job)?;
        record.pinned = pinned;
        self.change(record).await;
        Ok(())
    }

    /// Removes a finished build's record and log.
    ///
    /// # Errors
    /// `NotFound` when no finished build has the name.
    pub(crate) async fn remove(&self, job: &JobId) -> Result<(), Failure> {
        let _one_at_a_time = self.sealing.lock().await;
        self.finished(job)?;
        self.forget(job).await;
        Ok(())
    }

    fn finished(&self, job: &JobId) -> Result<Record, Failure> {
        let record = self.get(job).filter(|record| record.ending.is_some());
        record.ok_or_else(|| {
            Failure::new(
                FailureKind::NotFound,
                format!("no finished build has the name {job}"),
            )
        })
    }

    /// What changes from now on.
    pub(crate) fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    fn tell(&self, change: Change) {
        // Nobody need be listening.
        let _listeners = self.changes.send(change);
    }

    /// A build's record.
    pub(crate) fn get(&self, job: &JobId) -> Option<Record> {
        self.records.lock().get(job).cloned()
    }

    /// All records but those of internal builds, the newest first.
    pub(crate) fn list(&self) -> Vec<Record> {
        let mut all: Vec<_> = self
            .records
            .lock()
            .values()
            .filter(|record| !record.internal)
            .cloned()
            .collect();
        all.sort_by(|a, b| (b.begun_ns, &b.job).cmp(&(a.begun_ns, &a.job)));
        all
    }

    fn outdated(&self) -> Vec<JobId> {
        let oldest = self.clock.now_ns().saturating_sub(self.age_ns);
        self.list()
            .into_iter()
            .filter(|record| record.ending.is_some() && !record.pinned)
            .enumerate()
            .filter(|(place, record)| *place >= self.entries || record.begun_ns < oldest)
            .map(|(_, record)| JobId(record.job))
            .collect()
    }

    async fn forget(&self, job: &JobId) {
        let Some(record) = self.records.lock().remove(job) else {
            return;
        };
        for path in [self.record_path(job), self.log_path(job)] {
            match tokio::fs::remove_file(&path).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "an old build's file stays");
                }
                _ => {}
            }
        }
        if let Err(failure) = self.blobs.let_go(&holder(job)).await {
            tracing::warn!(%failure, "blobs of an old build stay");
        }
        if !record.internal {
            self.tell(Change::Forgotten(record));
        }
    }

    async fn write(&self, job: &JobId, record: &Record) -> io::Result<()> {
        let path = self.record_path(job);
        let unfinished = path.with_extension("new");
        let mut file = tokio::fs::File::create(&unfinished).await?;
        file.write_all(&serde_json::to_vec(record)?).await?;
        file.sync_all().await?;
        tokio::fs::rename(&unfinished, &path).await
    }

    fn record_path(&self, job: &JobId) -> PathBuf {
        self.folder.join(format!("{}.json", file_name(job)))
    }
}

/// One record; `None` for a file that is none.
pub(super) fn read(path: &Path) -> Option<Record> {
    if path.extension()? != "json" {
        return None;
    }
    let record: Record = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    (record.version == VERSION).then_some(record)
}

/// What the names of holders begin with.
const HOLDERS: &str = "history/";

/// The name under which the content store keeps blobs of a build.
fn holder(job: &JobId) -> String {
    format!("{HOLDERS}{}", file_name(job))
}

fn file_name(job: &JobId) -> String {
    Digest::sha256_of(&job.0).hex().to_owned()
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
