use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use cooper_core::ports::Sessions;
use cooper_proto::pb;
use sha2::{Digest as _, Sha256};

use crate::cachestore::PersistentCache;
use crate::cdi::{CdiSettings, Devices};
use crate::cgroup::{CgroupError, Cgroups};
use crate::checksum::ContentSums;
use crate::content::{ContentError, ContentStore};
use crate::distribution::{Distribution, DistributionConfig, DistributionError};
use crate::emulators::runnable_platforms;
use crate::exec::{OldRuntime, OtherRuntime, RunnerProgram, RuntimeError};
use crate::gc::{
    CacheMountRoom, Collector, GcError, GcPolicy, Ledger, ResultRoom, ResultUses, Room,
};
use crate::images::ImageStore;
use crate::layer::Layers;
use crate::limits::Limits;
use crate::meta::{LayerId, Meta, MetaError};
use crate::mount::{CacheMounts, MountError};
use crate::network::{NetworkError, NetworkSettings, Networks};
use crate::op::exec::{ExecOps, ExecParts};
use crate::snapshot::{Durability, SnapshotError, Snapshots, Snapshotter};
use crate::source::{
    BlobSource, Blobs, GitSettings, GitSource, HttpSource, ImageSource, LocalSource,
};
use crate::state::StateDir;

/// What a worker is made with.
pub struct WorkerSettings {
    /// The state folder. The caller holds its lock.
    pub state: PathBuf,
    /// Bounds on what images, archives and clients can make the worker do.
    pub limits: Limits,
    /// How registries are reached.
    pub registries: DistributionConfig,
    /// How git is run.
    pub git: GitSettings,
    /// What a commit survives.
    pub durability: Durability,
    /// Where clients attach; the engine asks the same.
    pub sessions: Arc<dyn Sessions>,
    /// The program that containers are started with.
    pub runner: RunnerProgram,
    /// Another runtime that sets the containers up; none for our own.
    pub runtime: Option<RuntimeSettings>,
    /// How steps are connected.
    pub network: NetworkSettings,
    /// Where devices for steps are described.
    pub devices: CdiSettings,
    /// Control group that steps are put below when they name none; empty for the engine's own.
    pub cgroup_parent: String,
    /// What is collected without being asked.
    pub garbage: GcPolicy,
    /// Further labels.
    pub labels: BTreeMap<String, String>,
    /// How layers become directories; the first one that works here when `None`.
    pub snapshotter: Option<Snapshotter>,
    /// Whether steps may see the processes outside, where the kernel refuses them a `/proc` of their own.
    pub shares_processes: bool,
}

/// Performs ops on this machine. Clones are the same worker.
#[derive(Clone)]
pub struct LocalWorker {
    pub(super) id: String,
    pub(super) platforms: Vec<pb::Platform>,
    pub(super) limits: Limits,
    pub(super) snapshots: Snapshots,
    pub(super) layers: Layers,
    pub(super) images: ImageStore,
    pub(super) distribution: Distribution,
    pub(super) image_source: ImageSource,
    pub(super) local_source: LocalSource,
    pub(super) http_source: HttpSource,
    pub(super) git_source: GitSource,
    pub(super) blob_source: BlobSource,
    pub(super) exec: ExecOps,
    pub(super) networks: Networks,
    pub(super) devices: Devices,
    pub(super) sums: ContentSums,
    pub(super) uses: ResultUses,
    pub(super) collector: Collector,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) hostname: String,
}

/// Why a state folder could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder itself.
    #[error("state folder {path}: {error}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The metadata store.
    #[error("metadata store: {0}")]
    Meta(#[from] MetaError),
    /// The content store.
    #[error("content store: {0}")]
    Content(#[from] ContentError),
    /// The file-system states, or what an earlier process left of them.
    #[error("file-system states: {0}")]
    Snapshots(#[from] SnapshotError),
    /// The registries' settings.
    #[error("registries: {0}")]
    Registries(#[from] DistributionError),
    /// The client for files by URL.
    #[error("http client: {0}")]
    Http(#[from] reqwest::Error),
    /// The disk that garbage is collected from.
    #[error("garbage collection: {0}")]
    Garbage(#[from] GcError),
    /// The program that containers are started with.
    #[error("container runner: {0}")]
    Runner(#[from] MountError),
    /// What connects steps.
    #[error(transparent)]
    Networks(#[from] NetworkError),
    /// What limits steps.
    #[error(transparent)]
    Cgroups(#[from] CgroupError),
    /// The other runtime that was asked for.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

/// Control group that steps are put below when another runtime runs them and nothing else is said.
const DEFAULT_PARENT: &str = "cooper";

/// Another runtime that sets containers up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeSettings {
    /// Its program: a path, or a name that is looked for in `PATH`.
    pub binary: PathBuf,
    /// What is done about a version that steps can misuse.
    pub old: OldRuntime,
}

impl RuntimeSettings {
    /// A runtime of which any version will do.
    #[must_use]
    pub fn of(binary: PathBuf) -> Self {
        Self {
            binary,
            old: OldRuntime::default(),
        }
    }
}

/// Collection and key under which a worker's id is kept.
const WORKER: (&str, &str) = ("worker", "id");

impl LocalWorker {
    /// Opens a state folder and removes what an earlier process left half-made.
    ///
    /// # Errors
    /// When a part of it cannot be used; nothing is lost then.
    pub fn open(settings: WorkerSettings) -> Result<Self, OpenError> {
        let limits = settings.limits;
        let state = StateDir::open(&settings.state).map_err(|error| OpenError::Folder {
            path: settings.state.clone(),
            error,
        })?;
        let meta = Meta::open(&state.meta())?;
        let content = ContentStore::open(state.root(), &limits)?;
        let snapshotter = match settings.snapshotter {
            Some(forced) => forced.try_in(&state.work()).map(|()| forced)?,
            None => Snapshotter::choose(&state.work()),
        };
        let durability = settings.durability;
        let snapshots =
            Snapshots::open_with(&state, meta.clone(), &limits, durability, snapshotter)?;
        let layers = Layers::new(content.clone(), snapshots.clone(), limits.clone());
        let images = ImageStore::new(&content, &snapshots, &limits);
        let distribution = Distribution::new(settings.registries)?;
        let sessions = settings.sessions;
        let instance =
            hex::encode(&Sha256::digest(state.root().as_os_str().as_encoded_bytes())[..4]);
        let cache_ledger = Ledger::new(&meta, "cache-mount-1");
        let cache_mounts =
            CacheMounts::new(&state.cache_mounts()).with_ledger(cache_ledger.clone());
        let networks = Networks::open(&settings.network, &state.networks())?;
        let devices = Devices::new(settings.devices);
        let (runner, parent) = match settings.runtime {
            None => (settings.runner, settings.cgroup_parent.as_str()),
            Some(RuntimeSettings { binary, old }) => {
                let other = OtherRuntime::find(&binary, &state.runtime(), old)?;
                // Another runtime puts a container at one place in all hierarchies.
                let parent = match settings.cgroup_parent.as_str() {
                    "" => DEFAULT_PARENT,
                    parent => parent,
                };
                (settings.runner.with_runtime(other), parent)
            }
        };
        let exec = ExecOps::new(ExecParts {
            snapshots: snapshots.clone(),
            cache_mounts: cache_mounts.clone(),
            sessions: Arc::clone(&sessions),
            program: runner,
            networks: networks.clone(),
            devices: devices.clone(),
            shares_processes: settings.shares_processes,
            cgroups: Cgroups::of_this_machine(&instance, parent)?
                .noting(&state.cgroup_parents())?,
        });
        let sums = ContentSums::new(snapshots.clone());
        let uses = ResultUses::default();
        let local_source = LocalSource::new(&state, &snapshots, &sums, Arc::clone(&sessions));
        let blobs = Blobs::new(&images, &distribution, Arc::clone(&sessions));
        let git_source = GitSource::new(
            (&state, &snapshots, &limits),
            blobs.clone(),
            Arc::clone(&sessions),
            settings.git,
        );
        let rooms: Vec<Box<dyn Room>> = vec![
            Box::new(ResultRoom::new(&layers, &images, &uses)),
            Box::new(CacheMountRoom::new(&cache_mounts, &cache_ledger)),
            Box::new(local_source.room()),
            Box::new(git_source.room()),
        ];
        let folder = state.root().to_owned();
        let collector = Collector::new(rooms, &layers, &images, folder, &settings.garbage)?;
        Ok(Self {
            id: worker_id(&meta)?,
            platforms: runnable_platforms(),
            image_source: ImageSource::new(&images, &layers, &distribution, Arc::clone(&sessions)),
            local_source,
            http_source: HttpSource::new(&snapshots, &limits, Arc::clone(&sessions))?,
            blob_source: BlobSource::new(&snapshots, &limits, blobs),
            git_source,
            limits,
            snapshots,
            layers,
            images,
            distribution,
            exec,
            networks,
            devices,
            sums,
            uses,
            collector,
            labels: settings.labels,
            hostname: hostname(),
        })
    }

    /// The cache of the same state folder.
    #[must_use]
    pub fn cache(&self) -> PersistentCache {
        PersistentCache::new(self.snapshots.meta().clone())
    }

    /// The images that have names here.
    #[must_use]
    pub fn images(&self) -> &ImageStore {
        &self.images
    }

    /// The layers of this state folder.
    #[must_use]
    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    /// The registries as this worker reaches them.
    #[must_use]
    pub fn distribution(&self) -> &Distribution {
        &self.distribution
    }

    /// What lets go of what is kept.
    #[must_use]
    pub fn collector(&self) -> &Collector {
        &self.collector
    }

    /// What fetches images, and their layers when they are needed.
    #[must_use]
    pub fn image_source(&self) -> &ImageSource {
        &self.image_source
    }
}

fn hostname() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// The id of a state folder's worker, chosen when the folder is new.
fn worker_id(meta: &Meta) -> Result<String, MetaError> {
    let (collection, key) = WORKER;
    let kept = meta.document(collection, key)?;
    if let Some(id) = kept.and_then(|bytes| String::from_utf8(bytes).ok()) {
        return Ok(id);
    }
    let id = LayerId::random().as_str().to_owned();
    meta.save_document(collection, key, Some(id.clone().into_bytes()))?;
    Ok(id)
}
