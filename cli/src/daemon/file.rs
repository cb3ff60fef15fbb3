use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

/// buildkitd.toml. A key that does not exist is an error that names its line; keys that ask for what is not built are
/// read and then refused by name.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ConfigFile {
    pub(super) debug: bool,
    pub(super) trace: bool,
    pub(super) root: Option<PathBuf>,
    #[serde(rename = "insecure-entitlements")]
    pub(super) insecure_entitlements: Vec<String>,
    #[serde(rename = "proxyNetwork")]
    pub(super) proxy_network: bool,
    #[serde(rename = "provenanceEnvDir")]
    pub(super) provenance_env_dir: Option<PathBuf>,
    pub(super) log: LogTable,
    pub(super) grpc: GrpcTable,
    #[serde(rename = "otel")]
    pub(super) _otel: OtelTable,
    pub(super) cdi: CdiTable,
    pub(super) dns: Option<DnsTable>,
    pub(super) history: Option<HistoryTable>,
    pub(super) worker: WorkerTable,
    pub(super) registry: BTreeMap<String, RegistryTable>,
    pub(super) frontend: FrontendTable,
    pub(super) system: SystemTable,
    pub(super) cache: BTreeMap<String, toml::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LogTable {
    pub(super) format: Option<String>,
    pub(super) level: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct GrpcTable {
    pub(super) address: Vec<String>,
    pub(super) debug_address: Option<String>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) security_descriptor: Option<String>,
    pub(super) tls: Option<TlsTable>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TlsTable {
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) ca: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct OtelTable {
    #[serde(rename = "socketPath")]
    _socket_path: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct CdiTable {
    pub(super) disabled: Option<bool>,
    pub(super) spec_dirs: Vec<PathBuf>,
    pub(super) auto_allowed: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct DnsTable {
    pub(super) nameservers: Vec<String>,
    pub(super) options: Vec<String>,
    pub(super) search_domains: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct HistoryTable {
    /// Seconds, or a number with a unit.
    pub(super) max_age: Option<toml::Value>,
    pub(super) max_entries: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WorkerTable {
    pub(super) oci: OciTable,
    pub(super) containerd: ContainerdTable,
}

/// Keys that are read one by one; the rest is checked by name.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OciTable {
    pub(super) enabled: Option<bool>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) snapshotter: Option<String>,
    #[serde(rename = "networkMode")]
    pub(super) network_mode: Option<String>,
    #[serde(rename = "max-parallelism")]
    pub(super) max_parallelism: Option<usize>,
    pub(super) gc: Option<bool>,
    #[serde(rename = "cniConfigPath")]
    pub(super) cni_config_path: Option<PathBuf>,
    #[serde(rename = "cniBinaryPath")]
    pub(super) cni_binary_path: Option<PathBuf>,
    #[serde(rename = "cniPoolSize")]
    pub(super) cni_pool_size: Option<usize>,
    #[serde(rename = "bridgeName")]
    pub(super) bridge_name: Option<String>,
    #[serde(rename = "bridgeSubnet")]
    pub(super) bridge_subnet: Option<String>,
    /// The runtime's program.
    pub(super) binary: Option<PathBuf>,
    /// What is done about a version of it that steps can misuse: `warn` or `refuse`. Ours alone.
    #[serde(rename = "oldBinary")]
    pub(super) old_binary: Option<String>,
    #[serde(rename = "defaultCgroupParent")]
    pub(super) default_cgroup_parent: String,
    #[serde(rename = "reservedSpace")]
    pub(super) reserved_space: Option<SpaceText>,
    #[serde(rename = "maxUsedSpace")]
    pub(super) max_used_space: Option<SpaceText>,
    #[serde(rename = "minFreeSpace")]
    pub(super) min_free_space: Option<SpaceText>,
    #[serde(rename = "gckeepstorage")]
    pub(super) keep_storage: Option<SpaceText>,
    pub(super) gcpolicy: Vec<PolicyTable>,
    pub(super) rootless: Option<bool>,
    #[serde(rename = "noProcessSandbox")]
    pub(super) no_process_sandbox: Option<bool>,
    #[serde(flatten)]
    pub(super) others: BTreeMap<String, toml::Value>,
}

/// Bytes as a number, or a text such as `512MB` or `10%`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum SpaceText {
    Bytes(i64),
    Text(String),
}

/// One rule of garbage collection.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PolicyTable {
    pub(super) all: bool,
    pub(super) filters: Vec<String>,
    #[serde(rename = "keepDuration")]
    pub(super) keep_duration: Option<toml::Value>,
    #[serde(rename = "reservedSpace")]
    pub(super) reserved_space: Option<SpaceText>,
    #[serde(rename = "maxUsedSpace")]
    pub(super) max_used_space: Option<SpaceText>,
    #[serde(rename = "minFreeSpace")]
    pub(super) min_free_space: Option<SpaceText>,
    /// The old name of reservedSpace.
    #[serde(rename = "keepBytes")]
    pub(super) keep_bytes: Option<SpaceText>,
}

/// The keys are tolerated, so that one file serves both daemons; only the worker itself cannot be had.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerdTable {
    pub(super) enabled: Option<bool>,
    #[serde(flatten)]
    pub(super) others: BTreeMap<String, toml::Value>,
}

/// Keys of a worker's table that exist in buildkitd and ask for what is not built.
pub(super) const UNBUILT_WORKER_KEYS: &[&str] = &[
    "platforms",
    "proxySnapshotterPath",
    "stargzSnapshotter",
    "apparmor-profile",
    "selinux",
    "userRemapUnsupported",
];

/// Further keys of the containerd worker's table.
pub(super) const CONTAINERD_KEYS: &[&str] = &[
    "rootless",
    "reservedSpace",
    "maxUsedSpace",
    "minFreeSpace",
    "gckeepstorage",
    "gcpolicy",
    "address",
    "namespace",
    "runtime",
    "labels",
    "snapshotter",
    "networkMode",
    "max-parallelism",
    "gc",
    "defaultCgroupParent",
    "cniConfigPath",
    "cniBinaryPath",
    "cniPoolSize",
    "bridgeName",
    "bridgeSubnet",
];

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RegistryTable {
    pub(super) mirrors: Vec<String>,
    pub(super) http: Option<bool>,
    pub(super) insecure: Option<bool>,
    pub(super) ca: Vec<PathBuf>,
    pub(super) keypair: Vec<KeyPairTable>,
    pub(super) tlsconfigdir: Vec<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyPairTable {
    pub(super) key: PathBuf,
    pub(super) cert: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FrontendTable {
    #[serde(rename = "dockerfile.v0")]
    pub(super) dockerfile: FrontendSwitch,
    #[serde(rename = "gateway.v0")]
    pub(super) gateway: FrontendSwitch,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct FrontendSwitch {
    pub(super) enabled: Option<bool>,
    pub(super) allowed_repositories: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct SystemTable {
    #[serde(rename = "platformsCacheMaxAge")]
    _platforms_cache_max_age: Option<toml::Value>,
    pub(super) max_registry_concurrency: Option<usize>,
}
