use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use cooper_engine::FrontendImages;
use cooper_engine::progress::OutputLimits;
use cooper_worker::cdi::CdiSettings;
use cooper_worker::distribution::DistributionConfig;
use cooper_worker::gc::GcPolicy;
use cooper_worker::local_worker::RuntimeSettings;
use cooper_worker::network::{NetworkMode, NetworkSettings};
use cooper_worker::snapshot::Snapshotter;

/// What an engine is told at its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineSettings {
    /// What builds may ask for beyond the ordinary.
    pub entitlements: BTreeSet<String>,
    /// Steps of all builds that run at the same time; the engine's default when `None`.
    pub max_parallelism: Option<NonZeroUsize>,
    /// How steps are connected.
    pub network: NetworkSettings,
    /// Where devices for steps are described.
    pub devices: CdiSettings,
    /// Control group that steps are put below when they name none; empty for the engine's own.
    pub cgroup_parent: String,
    /// Another runtime that sets containers up, such as runc; none for our own.
    pub runtime: Option<RuntimeSettings>,
    /// How registries are reached.
    pub distribution: DistributionConfig,
    /// Whether an exported image gets its name in the local store unless the client says otherwise.
    pub stores_images: bool,
    /// What is collected without being asked.
    pub garbage: GcPolicy,
    /// Which images may be frontends.
    pub frontend_images: FrontendImages,
    /// Folder of what provenance is to tell of this machine.
    pub provenance_folder: Option<PathBuf>,
    /// Labels of the worker.
    pub labels: BTreeMap<String, String>,
    /// Records of builds that are kept at most; the engine's default when `None`.
    pub history_entries: Option<usize>,
    /// How much output of running steps clients are sent.
    pub output: OutputLimits,
    /// How long records of builds are kept; the engine's default when `None`.
    pub history_age: Option<Duration>,
    /// How layers become directories; the first one that works when `None`.
    pub snapshotter: Option<Snapshotter>,
    /// Whether steps may see the processes outside, where the kernel refuses them a `/proc` of their own.
    pub shares_processes: bool,
}

impl EngineSettings {
    /// For a command of the user: what the user may do, the user's build may be allowed to do.
    #[must_use]
    pub fn of_command() -> Self {
        let all = ["network.host", "security.insecure", "device"];
        Self {
            entitlements: all.into_iter().map(String::from).collect(),
            stores_images: true,
            garbage: GcPolicy::Usual,
            // The network of the user who asks.
            network: NetworkSettings {
                mode: NetworkMode::Host,
                ..NetworkSettings::default()
            },
            ..Self::default()
        }
    }
}
