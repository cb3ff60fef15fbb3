use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cooper_core::model::JobId;
use cooper_core::ports::{CacheExporter, CacheImporter, Containers, Exporter, Frontend};
use cooper_engine::job::{Build, SolveSpec};
use cooper_engine::progress::StatusStream;
use cooper_engine::session::SessionRegistry;
use cooper_engine::{Clock, Engine, EngineParts, FrontendImages, Limits, ProvenanceEnvironment};
use cooper_proto::control::StatusResponse;
use cooper_proto::pb;
use futures::StreamExt;

use super::blobs::FakeBlobs;
use super::cache::FakeCache;
use super::containers::FakeContainers;
use super::files::FakeFiles;
use super::remote::FakeRemote;
use super::storage::FakeStorage;
use super::worker::FakeWorker;

/// What a test wants otherwise than usual.
#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) frontends: Vec<Arc<dyn Frontend>>,
    pub(crate) exporters: Vec<Arc<dyn Exporter>>,
    pub(crate) containers: Option<Arc<dyn Containers>>,
    pub(crate) frontend_images: FrontendImages,
    pub(crate) limits: Limits,
    /// Where caches are kept.
    pub(crate) remote: Option<Arc<FakeRemote>>,
    /// Blobs that outlive the bench.
    pub(crate) blobs: Arc<FakeBlobs>,
    /// A folder that outlives the bench.
    pub(crate) state: Option<PathBuf>,
}

/// An engine and the world around it.
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) worker: Arc<FakeWorker>,
    pub(crate) files: Arc<FakeFiles>,
    _state: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new(setup: Setup) -> Self {
        let state = tempfile::tempdir().expect("a folder");
        let sessions = SessionRegistry::new(Duration::from_secs(5));
        let worker = FakeWorker::new(sessions.clone());
        let files = Arc::new(FakeFiles::default());
        let remote = setup.remote.into_iter();
        let remote = remote.inspect(|remote| remote.attach(&worker));
        let remote: Vec<_> = remote.collect();
        let remote = remote.into_iter();
        let ticks = AtomicU64::new(1);
        let engine = Engine::new(EngineParts {
            worker: Arc::<FakeWorker>::clone(&worker),
            cache: Arc::new(FakeCache::default()),
            storage: Arc::new(FakeStorage),
            blobs: setup.blobs,
            files: Arc::<FakeFiles>::clone(&files),
            containers: setup
                .containers
                .unwrap_or_else(|| FakeContainers::new(|_, _| async { 1 })),
            frontends: setup.frontends,
            frontend_images: setup.frontend_images,
            cache_importers: remote
                .clone()
                .map(|it| it as Arc<dyn CacheImporter>)
                .collect(),
            cache_exporters: remote.map(|it| it as Arc<dyn CacheExporter>).collect(),
            exporters: setup.exporters,
            sessions,
            // Each look at the clock is a second later.
            clock: Clock::new(move || ticks.fetch_add(1, Ordering::SeqCst) * 1_000_000_000),
            state: setup.state.unwrap_or_else(|| state.path().to_owned()),
            limits: setup.limits,
            allowed_entitlements: BTreeSet::new(),
            provenance_environment: ProvenanceEnvironment::default(),
            version: "test".into(),
        })
        .expect("an engine");
        Self {
            engine,
            worker,
            files,
            _state: state,
        }
    }

    /// A build of a graph.
    pub(crate) fn graph(job: &str, definition: pb::Definition) -> SolveSpec {
        SolveSpec::new(JobId(job.to_owned()), Build::Definition(definition))
    }

    /// The progress of a build.
    pub(crate) async fn progress(&self, job: &str) -> StatusStream {
        let job = JobId(job.to_owned());
        self.engine.progress(&job).await.expect("a known build")
    }
}

/// All of a build's progress in one.
pub(crate) async fn all(mut progress: StatusStream) -> StatusResponse {
    let mut all = StatusResponse::default();
    while let Some(news) = progress.next().await {
        let news = news.expect("a readable log");
        all.vertexes.extend(news.vertexes);
        all.statuses.extend(news.statuses);
        all.logs.extend(news.logs);
        all.warnings.extend(news.warnings);
    }
    all
}

/// What steps wrote.
pub(crate) fn output_of(progress: &StatusResponse) -> String {
    let bytes: Vec<u8> = progress
        .logs
        .iter()
        .flat_map(|log| log.msg.to_vec())
        .collect();
    String::from_utf8(bytes).expect("text")
}
