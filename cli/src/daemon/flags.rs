use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// The engine as a daemon that speaks BuildKit's protocol. Takes buildkitd's flags and configuration file.
#[derive(Debug, Default, Parser)]
#[command(name = "cooperd", version)]
pub struct DaemonFlags {
    /// Configuration file in buildkitd.toml's form [default: /etc/buildkit/buildkitd.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Log more
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub debug: Option<bool>,
    /// Log even more
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub trace: Option<bool>,
    /// Folder in which everything is kept
    #[arg(long, visible_alias = "state", value_name = "FOLDER")]
    pub root: Option<PathBuf>,
    /// Certificate of this daemon, for addresses of networks
    #[arg(long, value_name = "FILE")]
    pub tlscert: Option<PathBuf>,
    /// Key of the certificate
    #[arg(long, value_name = "FILE")]
    pub tlskey: Option<PathBuf>,
    /// Certificates of who vouches for clients; without it any client is taken
    #[arg(long, value_name = "FILE")]
    pub tlscacert: Option<PathBuf>,
    /// Where to listen, as unix:///path, tcp://host:port or fd:// (systemd's sockets); may be repeated
    #[arg(long, value_name = "ADDRESS")]
    pub addr: Vec<String>,
    /// Where to show numbers and what runs, by HTTP: host:port, tcp://host:port or unix:///path. Only for who looks
    /// after the daemon
    #[arg(long, value_name = "ADDRESS", env = "BUILDKITD_DEBUGADDR")]
    pub debugaddr: Option<String>,
    /// text or json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// trace, debug, info, warn or error
    #[arg(long, value_name = "LEVEL", env = "BUILDKITD_LOG_LEVEL")]
    pub log_level: Option<String>,
    /// How long running builds may go on when the daemon is told to stop; told again, it cancels them
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    pub drain_timeout: Duration,
    /// Group that may use the socket, by name or number
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
    /// What builds may be allowed to do: network.host, security.insecure; may be repeated
    #[arg(long, value_name = "ENTITLEMENT", value_delimiter = ',')]
    pub allow_insecure_entitlement: Vec<String>,
    /// Whether this machine does the work
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub oci_worker: Option<String>,
    /// Steps that run at the same time; 0 for no limit
    #[arg(long, value_name = "COUNT")]
    pub oci_max_parallelism: Option<String>,
    /// Configuration of the CNI plugins that connect steps
    #[arg(long, value_name = "FILE")]
    pub oci_cni_config_path: Option<PathBuf>,
    /// Folder of the CNI plugins
    #[arg(long, value_name = "FOLDER")]
    pub oci_cni_binary_dir: Option<PathBuf>,
    /// Networks that are made ahead
    #[arg(long, value_name = "COUNT")]
    pub oci_cni_pool_size: Option<usize>,
    /// File to lock while the first network is made, for daemons that start together
    #[arg(
        long,
        env = "BUILDKIT_CNI_INIT_LOCK_PATH",
        value_name = "FILE",
        hide = true
    )]
    pub cni_init_lock_path: Option<PathBuf>,
    /// Network of steps that are not told otherwise: auto, bridge, cni or host
    #[arg(long, value_name = "MODE")]
    pub oci_worker_net: Option<String>,
    /// Bytes of a running step's output that clients are sent; -1 for all of it
    #[arg(
        long,
        env = "BUILDKIT_STEP_LOG_MAX_SIZE",
        value_name = "BYTES",
        allow_negative_numbers = true,
        hide = true
    )]
    pub step_log_max_size: Option<i64>,
    /// Bytes of a running step's output that clients are sent in a second; -1 for all of it
    #[arg(
        long,
        env = "BUILDKIT_STEP_LOG_MAX_SPEED",
        value_name = "BYTES",
        allow_negative_numbers = true,
        hide = true
    )]
    pub step_log_max_speed: Option<i64>,
    /// Runtime that sets containers up, such as runc [default: cooper's own]
    #[arg(long, value_name = "PROGRAM")]
    pub oci_worker_binary: Option<PathBuf>,
    /// What is done about a runtime that is known to be unsound: warn or refuse [default: warn]
    #[arg(long, value_name = "POLICY")]
    pub oci_worker_old_binary: Option<String>,
    /// How layers become directories: auto, overlayfs, fuse-overlayfs or native
    #[arg(long, value_name = "NAME")]
    pub oci_worker_snapshotter: Option<String>,
    /// Whether to collect garbage
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub oci_worker_gc: Option<bool>,
    /// So much is always left alone: bytes, or such as 5GB or 10%
    #[arg(long, value_name = "SIZE", visible_alias = "oci-worker-gc-keepstorage")]
    pub oci_worker_gc_reserved_space: Option<String>,
    /// At most so much is kept: bytes, or such as 50GB or 60%
    #[arg(long, value_name = "SIZE")]
    pub oci_worker_gc_max_used_space: Option<String>,
    /// So much of the disk is to stay free: bytes, or such as 50GB or 20%
    #[arg(long, value_name = "SIZE")]
    pub oci_worker_gc_min_free_space: Option<String>,
    /// Labels of the worker, as NAME=VALUE; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub oci_worker_labels: Vec<String>,
    /// Socket on which clients leave traces; tolerated, since traces are not kept
    #[arg(long, value_name = "PATH", hide = true)]
    pub otel_socket_path: Option<PathBuf>,
    /// Folder of files that describe devices for steps; may be repeated
    #[arg(long, value_name = "FOLDER")]
    pub cdi_spec_dir: Vec<PathBuf>,
    /// Whether devices are off
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide = true)]
    pub cdi_disabled: Option<bool>,
    /// Keep state and socket where a plain user has them, whoever runs this
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub rootless: Option<bool>,
    /// Whether to make a user namespace where rights are missing [default: true]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub oci_worker_rootless: Option<bool>,
    /// In a user namespace, show steps the processes outside where they can have no /proc of their own
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub oci_worker_no_process_sandbox: Option<bool>,
    /// What buildkitd has and this daemon has not yet.
    #[command(flatten)]
    pub unbuilt: UnbuiltFlags,
}

macro_rules! unbuilt {
    (values { $($value:ident)* } switches { $($switch:ident)* }) => {
        /// Flags that ask for what is not built. They are read so that the answer names them.
        #[derive(Debug, Default, clap::Args)]
        pub struct UnbuiltFlags {
            $(
                #[doc = "Not built yet."]
                #[arg(long, hide = true)]
                pub $value: Vec<String>,
            )*
            $(
                #[doc = "Not built yet."]
                #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
                pub $switch: Option<String>,
            )*
        }

        impl UnbuiltFlags {
            /// Names and values of those that ask for something.
            #[must_use]
            pub fn asked_for(&self) -> Vec<String> {
                let mut asked = Vec::new();
                let mut note = |name: &str, value: &str| {
                    asked.push(format!("--{}={value}", name.replace('_', "-")));
                };
                $(
                    for value in &self.$value {
                        note(stringify!($value), value);
                    }
                )*
                $(
                    if let Some(value) = &self.$switch && value != "false" {
                        note(stringify!($switch), value);
                    }
                )*
                asked
            }
        }
    };
}

unbuilt! {
    values {
        oci_worker_proxy_snapshotter_path oci_worker_platform
        oci_worker_apparmor_profile
        containerd_worker_addr containerd_worker_labels containerd_worker_platform
        containerd_worker_namespace containerd_worker_runtime containerd_worker_net
        containerd_worker_snapshotter containerd_worker_apparmor_profile
        containerd_worker_gc_keepstorage containerd_cni_config_path containerd_cni_binary_dir
        containerd_cni_pool_size containerd_max_parallelism
    }
    switches {
        proxy_network save_cache_debug oci_worker_selinux containerd_worker containerd_worker_selinux containerd_worker_gc
        containerd_worker_rootless
    }
}
