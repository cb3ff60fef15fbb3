use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use cooper_core::model::{Failure, FailureKind, JobId};
use cooper_core::ports::{
    Blobs, CacheExporter, CacheImporter, CacheStore, Containers, Exporter, Frontend, ResultFiles,
    Storage, Worker,
};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::attest::{ProvenanceEnvironment, Requests};
use crate::driver::{Driver, DriverParts, Permits, Task, Tasks};
use crate::frontend_image::FrontendImages;
use crate::garbage::GarbageCollection;
use crate::history::{History, Record};
use crate::job::{self, JobRegistry, Running, SolveOutcome, SolveSpec};
use crate::progress::{self, StatusStream};
use crate::session::SessionRegistry;
use crate::{Clock, Limits, Vitals};

/// What an engine is made of.
pub struct EngineParts {
    /// Performs ops.
    pub worker: Arc<dyn Worker>,
    /// Remembers results.
    pub cache: Arc<dyn CacheStore>,
    /// Says what is kept beyond builds, and lets go of it.
    pub storage: Arc<dyn Storage>,
    /// Blobs by digest.
    pub blobs: Arc<dyn Blobs>,
    /// Looks into results and images.
    pub files: Arc<dyn ResultFiles>,
    /// Holds containers open.
    pub containers: Arc<dyn Containers>,
    /// Frontends, found by their names.
    pub frontends: Vec<Arc<dyn Frontend>>,
    /// Which images may be frontends.
    pub frontend_images: FrontendImages,
    /// Exporters, found by their kinds.
    pub exporters: Vec<Arc<dyn Exporter>>,
    /// Readers of caches, found by their kinds.
    pub cache_importers: Vec<Arc<dyn CacheImporter>>,
    /// Writers of caches, found by their kinds.
    pub cache_exporters: Vec<Arc<dyn CacheExporter>>,
    /// Where clients attach; the worker asks the same.
    pub sessions: SessionRegistry,
    /// Tells the time.
    pub clock: Clock,
    /// Folder for logs and records; made when it is not there. Nobody else writes there.
    pub state: PathBuf,
    /// Bounds on what clients can make the engine do.
    pub limits: Limits,
    /// What builds may ask for beyond the ordinary: `network.host`, `security.insecure`, `device`.
    pub allowed_entitlements: BTreeSet<String>,
    /// What provenance is to tell of this machine.
    pub provenance_environment: ProvenanceEnvironment,
    /// Cooper's version, for who asks.
    pub version: String,
}

/// Runs builds. Cheap to clone; all clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    parts: Arc<Parts>,
    driver: Arc<Mutex<Option<Task<()>>>>,
}

/// What the engine's own modules share.
pub(crate) struct Parts {
    pub(crate) worker: Arc<dyn Worker>,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) blobs: Arc<dyn Blobs>,
    pub(crate) files: Arc<dyn ResultFiles>,
    pub(crate) containers: Arc<dyn Containers>,
    pub(crate) frontends: BTreeMap<String, Arc<dyn Frontend>>,
    pub(crate) frontend_images: FrontendImages,
    pub(crate) exporters: BTreeMap<String, Arc<dyn Exporter>>,
    pub(crate) cache_importers: BTreeMap<String, Arc<dyn CacheImporter>>,
    pub(crate) cache_exporters: BTreeMap<String, Arc<dyn CacheExporter>>,
    pub(crate) sessions: SessionRegistry,
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
    pub(crate) allowed_entitlements: BTreeSet<String>,
    pub(crate) provenance_environment: ProvenanceEnvironment,
    /// Which requests made which results.
    pub(crate) requests: Requests,
    pub(crate) version: String,
    pub(crate) tasks: Tasks,
    pub(crate) driver: Driver,
    pub(crate) jobs: JobRegistry,
    pub(crate) history: History,
    /// Told when garbage may be collected.
    pub(crate) collect: Arc<Notify>,
    /// Completes when no build may begin any more.
    pub(crate) stopping: CancellationToken,
}

impl Engine {
    /// Starts an engine. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// `Infrastructure` when the state folder cannot be used.
    pub fn new(parts: EngineParts) -> Result<Self, Failure> {
        let history = History::open(
            &parts.state,
            &parts.limits,
            parts.clock.clone(),
            Arc::clone(&parts.blobs),
        )?;
        let tasks = Tasks::default();
        let (driver, task) = Driver::start(
            DriverParts {
                worker: Arc::clone(&parts.worker),
                cache: parts.cache,
                steps: Permits::new(parts.limits.steps_per_worker),
                clock: parts.clock.clone(),
            },
            &tasks,
        );
        let stopping = CancellationToken::new();
        let collect = Arc::new(Notify::new());
        let collection = GarbageCollection {
            storage: Arc::clone(&parts.storage),
            wanted: Arc::clone(&collect),
            stopping: stopping.clone(),
        };
        // Joined by the engine's end.
        let _ends_with_the_engine = tasks.spawn("garbage collection", collection.run());
        let frontends = parts.frontends.into_iter();
        let exporters = parts.exporters.into_iter();
        let cache_importers = parts.cache_importers.into_iter();
        let cache_exporters = parts.cache_exporters.into_iter();
        let engine = Self {
            parts: Arc::new(Parts {
                worker: parts.worker,
                storage: parts.storage,
                blobs: parts.blobs,
                files: parts.files,
                containers: parts.containers,
                frontends: frontends.map(|f| (f.name().to_owned(), f)).collect(),
                frontend_images: parts.frontend_images,
                exporters: exporters.map(|e| (e.kind().to_owned(), e)).collect(),
                cache_importers: cache_importers.map(|i| (i.kind().to_owned(), i)).collect(),
                cache_exporters: cache_exporters.map(|e| (e.kind().to_owned(), e)).collect(),
                sessions: parts.sessions,
                clock: parts.clock,
                limits: parts.limits,
                allowed_entitlements: parts.allowed_entitlements,
                provenance_environment: parts.provenance_environment,
                requests: Requests::default(),
                version: parts.version,
                tasks,
                driver,
                jobs: JobRegistry::default(),
                history,
                stopping,
                collect,
            }),
            driver: Arc::new(Mutex::new(Some(task))),
        };
        engine.reap();
        Ok(engine)
    }

    /// Cleans up after a process that was killed, beside the first builds.
    fn reap(&self) {
        let parts = Arc::clone(&self.parts);
        let reaping = async move {
            match parts.history.let_go_of_lost().await {
                Ok(true) => parts.collect.notify_one(),
                Ok(false) => {}
                Err(failure) => {
                    tracing::warn!(%failure, "blobs of builds without a record stay until the next start");
                }
            }
        };
        // Joined by the engine's end.
        let _ends_by_itself = self.parts.tasks.spawn("reaping", reaping);
    }

    /// Starts a build that goes on until its end or until the answer is dropped.
    ///
    /// # Errors
    /// When nothing of it could begin: a name in use, an unknown exporter, a permission that is not given.
    pub fn start(&self, spec: SolveSpec) -> Result<Running, Failure> {
        job::start(&self.parts, spec)
    }

    /// Runs a build to its end.
    ///
    /// # Cancel
    /// Dropping the future cancels the build; [`Engine::shutdown`] waits for its cleanup.
    pub async fn solve(&self, spec: SolveSpec) -> SolveOutcome {
        match self.start(spec) {
            Ok(running) => running.outcome().await,
            Err(failure) => SolveOutcome {
                result: Err(failure),
                summary: progress::BuildSummary::default(),
            },
        }
    }

    /// The progress of a build that runs, will run in a moment, or has ended and is in the history.
    ///
    /// # Errors
    /// `NotFound` when there is no such build.
    pub async fn progress(&self, job: &JobId) -> Result<StatusStream, Failure> {
        if !self.parts.jobs.contains(job) && self.parts.history.get(job).is_some() {
            return progress::replay(self.parts.history.log_path(job)).await;
        }
        let wait = self.parts.limits.status_wait;
        match self.parts.jobs.wait_for(job, wait).await {
            Some((job, _)) => Ok(job.log.follow()),
            None => Err(Failure::new(
                FailureKind::NotFound,
                format!("no such job {job}"),
            )),
        }
    }

    /// Records of builds, the newest first.
    #[must_use]
    pub fn history(&self) -> Vec<Record> {
        self.parts.history.list()
    }

    /// Whether no build runs.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.parts.jobs.is_empty()
    }

    /// Completes when builds that run or will run have ended and none runs.
    pub async fn comes_to_rest(&self) {
        self.parts.jobs.emptied().await;
    }

    /// What it does now and has done.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        Vitals {
            running: self.parts.jobs.names(),
            ended: self.parts.jobs.ended(),
            sessions: self.parts.sessions.count(),
            tasks: self.parts.tasks.count(),
        }
    }

    /// Where clients attach.
    #[must_use]
    pub fn sessions(&self) -> &SessionRegistry {
        &self.parts.sessions
    }

    /// Refuses builds from now on; those that run go on.
    pub fn close(&self) {
        self.parts.jobs.close();
    }

    /// Completes when no build runs.
    pub async fn idle(&self) {
        self.parts.jobs.empty().await;
    }

    /// Stops every build, waits for all cleanup and ends. Builds asked for afterwards are refused.
    pub async fn shutdown(&self) {
        self.parts.stopping.cancel();
        self.parts.jobs.cancel_all();
        self.parts.driver.stop();
        let driver = self.driver.lock().take();
        if let Some(driver) = driver
            && let Err(failure) = driver.await
        {
            tracing::error!(%failure, "the driver ended badly");
        }
        self.parts.tasks.join_all().await;
    }

    /// What the engine's own modules share.
    pub(crate) fn parts(&self) -> &Arc<Parts> {
        &self.parts
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Engine").field(&self.parts).finish()
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("version", &self.version)
            .field("frontends", &self.frontends.keys())
            .field("exporters", &self.exporters.keys())
            .finish_non_exhaustive()
    }
}
