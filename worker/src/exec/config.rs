use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// An OCI runtime configuration (`config.json`, runtime-spec 1.2), as far as we write and obey it.
///
/// A field that we do not know is refused and not skipped: half a sandbox is none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Version of the specification that it is written by.
    pub oci_version: String,
    /// The program and who runs it.
    pub process: Process,
    /// What the container sees as `/`.
    pub root: RootFs,
    /// Host name inside.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// Mounted in this order.
    pub mounts: Vec<ConfigMount>,
    /// What only Linux has.
    pub linux: Linux,
}

/// The program of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Process {
    /// Who runs it.
    pub user: User,
    /// Program and arguments; a program without `/` is looked for in the `PATH` of `env`.
    pub args: Vec<String>,
    /// `NAME=value`, in the order that the program sees.
    pub env: Vec<String>,
    /// Working directory, which must exist inside.
    pub cwd: PathBuf,
    /// What a root inside may do.
    pub capabilities: Capabilities,
    /// Limits on the process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rlimits: Vec<ResourceLimit>,
    /// Whether set-id programs give no further rights.
    pub no_new_privileges: bool,
}

/// Who runs a program, by number.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// All supplementary groups; the primary one is among them.
    pub additional_gids: Vec<u32>,
}

/// Sets of capabilities by name, such as `CAP_CHOWN`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Capabilities {
    /// The most that any program inside can get.
    pub bounding: Vec<String>,
    /// What is in force.
    pub effective: Vec<String>,
    /// What can be put in force.
    pub permitted: Vec<String>,
    /// What programs that ask for it keep; empty but for steps that are hardly kept from the machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inheritable: Vec<String>,
    /// What every program keeps; as `inheritable`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ambient: Vec<String>,
}

/// One limit as `setrlimit` has it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceLimit {
    /// Such as `RLIMIT_NOFILE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What only root may raise.
    pub hard: u64,
    /// What applies.
    pub soft: u64,
}

/// What the container sees as `/`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RootFs {
    /// Directory, relative to the bundle. Our own runner is given a descriptor instead.
    pub path: PathBuf,
    /// Whether it cannot be written.
    #[serde(default)]
    pub readonly: bool,
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigMount {
    /// Absolute path inside.
    pub destination: PathBuf,
    /// Type of file system, or `bind`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What is mounted. For a `bind`, our own runner is given a descriptor instead.
    pub source: PathBuf,
    /// As the `mount` program has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

/// What only Linux has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Linux {
    /// What the container has for itself.
    pub namespaces: Vec<Namespace>,
    /// Devices beside those that every container has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    /// What of the machine it may use.
    #[serde(default)]
    pub resources: Resources,
    /// Paths that look empty inside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masked_paths: Vec<PathBuf>,
    /// Paths that cannot be written inside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub readonly_paths: Vec<PathBuf>,
}

/// A device that is made in the container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Device {
    /// Absolute path inside, below `/dev`.
    pub path: PathBuf,
    /// `c` for one of characters, `b` for one of blocks.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its driver's number.
    pub major: u32,
    /// Its number with the driver.
    pub minor: u32,
    /// Permission bits; `0o666` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_mode: Option<u32>,
    /// Owner.
    #[serde(default)]
    pub uid: u32,
    /// Group.
    #[serde(default)]
    pub gid: u32,
    /// Where the machine has it, if elsewhere. Our own runner mounts it from there where it may make none; the
    /// specification of runtimes has no such field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_path: Option<PathBuf>,
}

/// What of the machine a container may use. Limits of memory and CPU are kept by its control groups from outside.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resources {
    /// Which devices: the first entry refuses all, the others allow some. Without any, all may be used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceAccess>,
}

/// One rule about devices. What is absent means all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeviceAccess {
    /// Whether it allows or refuses.
    pub allow: bool,
    /// `c` or `b`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Driver's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major: Option<u32>,
    /// Number with the driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minor: Option<u32>,
    /// Of `r`, `w` and `m` (make).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<String>,
}

/// One namespace that the container has for itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Namespace {
    /// Which one.
    #[serde(rename = "type")]
    pub kind: NamespaceKind,
    /// One that exists already and is joined. Our own runner is given a descriptor instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

/// The kinds of namespaces that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamespaceKind {
    /// Process ids.
    Pid,
    /// Mounts.
    Mount,
    /// System V and POSIX message queues, semaphores and shared memory.
    Ipc,
    /// Host name.
    Uts,
    /// Network interfaces, ports and abstract sockets.
    Network,
    /// The view of control groups.
    Cgroup,
}
