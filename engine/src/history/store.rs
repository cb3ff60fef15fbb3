use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cooper_core::model::{Failure, FailureKind, JobId};
use cooper_proto::Digest;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;

use super::Record;
use super::record::VERSION;
use crate::{Clock, Limits};

/// The records and logs of builds, on disk under the engine's folder.
///
/// A name that a client chose is never part of a path: files are named by its digest.
#[derive(Debug)]
pub(crate) struct History {
    logs: PathBuf,
    folder: PathBuf,
    clock: Clock,
    age_ns: u64,
    entries: usize,
    records: Mutex<BTreeMap<JobId, Record>>,
}

impl History {
    /// Opens the folder: finished records are read; what a killed process left unfinished is removed.
    ///
    /// # Errors
    /// `Infrastructure` when the folder cannot be used.
    pub(crate) fn open(state: &Path, limits: &Limits, clock: Clock) -> Result<Self, Failure> {
        let history = Self {
            logs: state.join("logs"),
            folder: state.join("history"),
            clock,
            age_ns: nanoseconds(limits.history_age),
            entries: limits.history_entries,
            records: Mutex::default(),
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

    /// Where a build's log is.
    pub(crate) fn log_path(&self, job: &JobId) -> PathBuf {
        self.logs.join(format!("{}.progress", file_name(job)))
    }

    /// Notes that a build begins; kept in memory only, since a build does not outlive its process.
    pub(crate) fn begin(&self, record: Record) {
        let mut records = self.records.lock();
        records.insert(JobId(record.job.clone()), record);
    }

    /// Writes down how a build ended. What cannot be written is kept in memory and said in the log.
    pub(crate) async fn end(&self, record: Record) {
        let job = JobId(record.job.clone());
        if record.internal {
            self.forget(&job).await;
        } else {
            if let Err(error) = self.write(&job, &record).await {
                tracing::error!(%job, %error, "a build's record could not be written");
            }
            self.records.lock().insert(job, record);
        }
        for old in self.outdated() {
            self.forget(&old).await;
        }
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
            .filter(|record| record.ending.is_some())
            .enumerate()
            .filter(|(place, record)| *place >= self.entries || record.begun_ns < oldest)
            .map(|(_, record)| JobId(record.job))
            .collect()
    }

    async fn forget(&self, job: &JobId) {
        self.records.lock().remove(job);
        for path in [self.record_path(job), self.log_path(job)] {
            match tokio::fs::remove_file(&path).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "an old build's file stays");
                }
                _ => {}
            }
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

fn read(path: &Path) -> Option<Record> {
    if path.extension()? != "json" {
        return None;
    }
    let record: Record = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    (record.version == VERSION).then_some(record)
}

fn file_name(job: &JobId) -> String {
    Digest::sha256_of(&job.0).hex().to_owned()
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
