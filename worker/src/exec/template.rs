use std::path::PathBuf;

use super::config::{
    Capabilities, Config, ConfigMount, Device, Linux, Namespace, NamespaceKind, Process,
    ResourceLimit, Resources, RootFs, User,
};
use super::device_rules::{default_rules, insecure_devices};
use super::runner::capabilities_of_this_process;
use crate::userns::Identity;

/// What a root inside a container may do: Docker's default set.
pub const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// `PATH` where neither the image nor the op names one.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Files of `/proc` and `/sys` that tell of the machine or act on it.
pub(super) const MASKED_PATHS: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
    "/proc/scsi",
];

pub(super) const READ_ONLY_PATHS: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Which network a container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// The machine's own.
    #[default]
    Host,
    /// Nothing but a loopback interface.
    None,
    /// A namespace that was made for it, or for it among others.
    Given,
}

/// How much a container is kept from the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Security {
    /// Everything that this module knows to forbid is forbidden.
    #[default]
    Sandbox,
    /// It has the rights and the devices of the engine itself; it only sees other files, processes and networks.
    Insecure,
}

/// The closed template that every container's configuration is made from: what is not a field here is the same for all
/// (security.md I4 and I11).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template {
    /// Program and arguments.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Absolute working directory.
    pub cwd: PathBuf,
    /// Who runs the program.
    pub user: User,
    /// Host name inside.
    pub hostname: String,
    /// Limits on the process; none leaves those of the engine.
    pub rlimits: Vec<ResourceLimit>,
    /// Which network it sees.
    pub network: Network,
    /// How much it is kept from the machine.
    pub security: Security,
    /// Whether `/` cannot be written.
    pub read_only_root: bool,
    /// Devices beside those that every container has.
    pub devices: Vec<Device>,
}

impl Template {
    /// The configuration, with the mounts that every container has and none of its own.
    #[must_use]
    pub fn config(self) -> Config {
        let unified_cgroups = has_unified_cgroups();
        let (capabilities, kept) = match self.security {
            Security::Sandbox => (DEFAULT_CAPABILITIES.map(String::from).into(), Vec::new()),
            Security::Insecure => {
                let all = capabilities_of_this_process();
                (all.clone(), all)
            }
        };
        let linux = self.linux(unified_cgroups);
        Config {
            oci_version: "1.2.0".into(),
            process: Process {
                user: self.user,
                args: self.args,
                env: self.env,
                cwd: self.cwd,
                capabilities: Capabilities {
                    bounding: capabilities.clone(),
                    effective: capabilities.clone(),
                    permitted: capabilities,
                    inheritable: kept.clone(),
                    ambient: kept,
                },
                rlimits: self.rlimits,
                // BuildKit lets `sudo` and other set-id programs of an image work; the bounding set still holds.
                no_new_privileges: false,
            },
            root: RootFs {
                path: "rootfs".into(),
                readonly: self.read_only_root,
            },
            hostname: self.hostname,
            mounts: default_mounts(unified_cgroups, self.security),
            linux,
        }
    }

    fn linux(&self, unified_cgroups: bool) -> Linux {
        let namespaces = namespaces(self.network, unified_cgroups);
        match self.security {
            Security::Sandbox => Linux {
                namespaces,
                devices: self.devices.clone(),
                resources: Resources {
                    devices: default_rules(&self.devices),
                },
                masked_paths: MASKED_PATHS.map(PathBuf::from).into(),
                readonly_paths: READ_ONLY_PATHS.map(PathBuf::from).into(),
            },
            Security::Insecure => Linux {
                namespaces,
                devices: insecure_devices(&self.devices)
                    .into_iter()
                    .filter(|device| is_to_be_had(device, &self.devices))
                    .collect(),
                ..Linux::default()
            },
        }
    }
}

/// In a user namespace there are only the machine's devices, and of those that nobody asked for the ones that it has.
fn is_to_be_had(device: &Device, asked_for: &[Device]) -> bool {
    !Identity::of_this_process().is_mapped()
        || asked_for.contains(device)
        || device.path.symlink_metadata().is_ok()
}

fn namespaces(network: Network, unified_cgroups: bool) -> Vec<Namespace> {
    let mut kinds = vec![
        NamespaceKind::Pid,
        NamespaceKind::Ipc,
        NamespaceKind::Uts,
        NamespaceKind::Mount,
    ];
    if network != Network::Host {
        kinds.push(NamespaceKind::Network);
    }
    if unified_cgroups {
        kinds.push(NamespaceKind::Cgroup);
    }
    kinds
        .into_iter()
        .map(|kind| Namespace { kind, path: None })
        .collect()
}

/// The mounts that every container has (runtime-spec, "Default Filesystems", with containerd's options).
fn default_mounts(unified_cgroups: bool, security: Security) -> Vec<ConfigMount> {
    let access = match security {
        Security::Sandbox => "ro",
        Security::Insecure => "rw",
    };
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| ConfigMount {
        destination: destination.into(),
        kind: kind.into(),
        source: source.into(),
        options: options.iter().map(|&option| option.into()).collect(),
    };
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        ),
        mount(
            "/dev/mqueue",
            "mqueue",
            "mqueue",
            &["nosuid", "noexec", "nodev"],
        ),
        mount(
            "/sys",
            "sysfs",
            "sysfs",
            &["nosuid", "noexec", "nodev", access],
        ),
    ];
    if unified_cgroups {
        mounts.push(mount(
            "/sys/fs/cgroup",
            "cgroup2",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", access],
        ));
    }
    mounts
}

/// Whether this machine has control groups of version 2 alone. The older ones cannot be shown to a container without
/// naming the machine's, so that it gets none.
fn has_unified_cgroups() -> bool {
    const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;
    rustix::fs::statfs("/sys/fs/cgroup").is_ok_and(|stat| stat.f_type == CGROUP2_SUPER_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t_b4_no_configuration_has_inheritable_or_ambient_capabilities() {
        let config = serde_json::to_value(Template::default().config()).unwrap();
        let sets: Vec<_> = config["process"]["capabilities"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        assert_eq!(sets, ["bounding", "effective", "permitted"]);
    }

    #[test]
    fn configuration_survives_its_own_format() {
        let config = Template {
            args: vec!["true".into()],
            cwd: "/".into(),
            ..Template::default()
        }
        .config();
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), config);
        let with_hooks = json.replacen('{', "{\"hooks\":{},", 1);
        assert!(
            serde_json::from_str::<Config>(&with_hooks).is_err(),
            "an unknown field is refused"
        );
    }

    #[test]
    fn insecure_configuration_has_the_rights_of_the_engine() {
        let config = Template {
            security: Security::Insecure,
            ..Template::default()
        }
        .config();
        assert_eq!(
            config.process.capabilities.ambient,
            capabilities_of_this_process()
        );
        assert_eq!(config.linux.masked_paths, [""; 0].map(PathBuf::from));
        assert_eq!(config.linux.resources, Resources::default());
        assert!(config.linux.devices.iter().any(|d| d.path == *"/dev/fuse"));
    }

    #[test]
    fn network_namespace_only_without_the_host_network() {
        let has_network = |network| {
            let config = Template {
                network,
                ..Template::default()
            }
            .config();
            config
                .linux
                .namespaces
                .iter()
                .any(|namespace| namespace.kind == NamespaceKind::Network)
        };
        assert!(has_network(Network::None));
        assert!(!has_network(Network::Host));
    }
}
