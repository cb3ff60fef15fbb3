//! The one place that names the concrete worker, frontend and exporters together.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::{Exporter, Sessions, Worker};
use cooper_engine::session::SessionRegistry;
use cooper_engine::{Clock, Engine, EngineParts, Limits, ProvenanceEnvironment};
use cooper_frontend::gateway::Dockerfile;
use cooper_worker::exec::RunnerProgram;
use cooper_worker::exporter::{
    ArchiveExporter, ImageExporter, LocalExporter, TarExporter, Variant, Whole,
};
use cooper_worker::images::ImageStore;
use cooper_worker::layer::Layers;
use cooper_worker::local_worker::{LocalWorker, WorkerSettings};
use cooper_worker::remotecache::{CacheStores, LocalCache, ObjectCache, RegistryCache};
use cooper_worker::snapshot::Durability;
use cooper_worker::source::GitSettings;

use super::{EngineSettings, provenance};
use crate::config::now_ns;

/// Folder in the state folder for the engine's own logs and records.
const ENGINE_FOLDER: &str = "engine";

/// An engine and what it shares with commands that need no build.
pub struct Assembled {
    /// The engine.
    pub engine: Engine,
    /// The images that have names.
    pub images: ImageStore,
    /// The layers that they are made of.
    pub layers: Layers,
}

/// Makes an engine on a state folder, which the caller has locked.
///
/// # Errors
/// When the folder cannot be used, or this user may not run containers.
pub async fn assemble(folder: &Path, settings: EngineSettings) -> Result<Assembled, Failure> {
    let mut limits = Limits::default();
    if let Some(parallelism) = settings.max_parallelism {
        limits.steps_per_worker = Some(parallelism);
    }
    if let Some(entries) = settings.history_entries {
        limits.history_entries = entries;
    }
    if let Some(age) = settings.history_age {
        limits.history_age = age;
    }
    limits.output = settings.output;
    let sessions = SessionRegistry::new(limits.session_wait);
    let worker_settings = WorkerSettings {
        state: folder.to_path_buf(),
        limits: cooper_worker::limits::Limits::default(),
        registries: settings.distribution,
        git: git_settings(),
        durability: Durability::PowerLoss,
        sessions: Arc::new(sessions.clone()),
        network: settings.network,
        devices: settings.devices,
        cgroup_parent: settings.cgroup_parent,
        runner: RunnerProgram::this_executable().map_err(|error| runner_missing(&error))?,
        runtime: settings.runtime,
        garbage: settings.garbage,
        labels: settings.labels,
        snapshotter: settings.snapshotter,
        shares_processes: settings.shares_processes,
    };
    // Opening repairs what an earlier process left, which reads and writes disks.
    let opened = tokio::task::spawn_blocking(move || LocalWorker::open(worker_settings));
    let worker = opened
        .await
        .map_err(|error| Failure::new(FailureKind::Internal, error.to_string()))?
        .map_err(|error| Failure::new(FailureKind::Infrastructure, error.to_string()))?;
    let shared = Arc::new(worker.clone());
    let caches = CacheStores::new(
        worker.images(),
        worker.layers(),
        worker.image_source(),
        worker.distribution(),
        Arc::new(sessions.clone()),
    )
    .with_environment(cache_environment());
    let engine = Engine::new(EngineParts {
        worker: Arc::clone(&shared) as Arc<dyn Worker>,
        cache: Arc::new(worker.cache()),
        storage: Arc::new(worker.collector().clone()),
        blobs: Arc::<LocalWorker>::clone(&shared),
        files: Arc::<LocalWorker>::clone(&shared),
        containers: shared,
        frontends: vec![Arc::new(Dockerfile)],
        frontend_images: settings.frontend_images,
        exporters: exporters(&worker, &sessions, settings.stores_images),
        cache_importers: vec![
            Arc::new(RegistryCache::new(caches.clone())),
            Arc::new(LocalCache::new(caches.clone())),
            Arc::new(ObjectCache::s3(caches.clone())),
            Arc::new(ObjectCache::azblob(caches.clone())),
            Arc::new(ObjectCache::gha(caches.clone())),
        ],
        cache_exporters: vec![
            Arc::new(RegistryCache::new(caches.clone())),
            Arc::new(LocalCache::new(caches.clone())),
            Arc::new(ObjectCache::s3(caches.clone())),
            Arc::new(ObjectCache::azblob(caches.clone())),
            Arc::new(ObjectCache::gha(caches)),
        ],
        sessions,
        clock: Clock::new(now_ns),
        state: folder.join(ENGINE_FOLDER),
        limits,
        allowed_entitlements: settings.entitlements,
        provenance_environment: match &settings.provenance_folder {
            Some(folder) => provenance::read_folder(folder)?,
            None => ProvenanceEnvironment::default(),
        },
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })?;
    Ok(Assembled {
        engine,
        images: worker.images().clone(),
        layers: worker.layers().clone(),
    })
}

/// What the daemon's environment says of caches that clients leave out.
fn cache_environment() -> BTreeMap<String, String> {
    let set = std::env::vars_os();
    let text = set.filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let known = text.filter(|(name, _)| ObjectCache::VARIABLES.contains(&name.as_str()));
    let readable = known.filter_map(|(name, value)| Some((name, value.into_string().ok()?)));
    readable.collect()
}

/// Git sees where programs are and through which proxies the world is reached, and nothing else of ours.
fn git_settings() -> GitSettings {
    let visible = GitSettings::VARIABLES
        .into_iter()
        .filter_map(|name| {
            let set = std::env::vars_os().find(|(it, _)| it == name)?;
            Some((name, set.1))
        })
        .collect();
    GitSettings {
        program: "git".into(),
        environment: visible,
    }
}

fn exporters(
    worker: &LocalWorker,
    sessions: &SessionRegistry,
    stores_images: bool,
) -> Vec<Arc<dyn Exporter>> {
    let sessions: Arc<dyn Sessions> = Arc::new(sessions.clone());
    let (images, layers, source) = (worker.images(), worker.layers(), worker.image_source());
    let archive = |variant| {
        Arc::new(ArchiveExporter::new(
            variant,
            images,
            layers,
            source,
            Arc::clone(&sessions),
        ))
    };
    let mut image = ImageExporter::new(
        images,
        layers,
        source,
        worker.distribution(),
        Arc::clone(&sessions),
    );
    if !stores_images {
        image = image.storing_when_asked();
    }
    vec![
        Arc::new(image),
        archive(Variant::Oci),
        archive(Variant::Docker),
        Arc::new(Whole::new(
            LocalExporter::new(layers.snapshots().clone(), Arc::clone(&sessions)),
            source,
        )),
        Arc::new(Whole::new(
            TarExporter::new(layers.snapshots().clone(), sessions),
            source,
        )),
    ]
}

fn runner_missing(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        FailureKind::Denied,
        format!("containers cannot be started: {error}"),
    )
    .with_hint("it takes root, or a user namespace in which this process may mount")
}
