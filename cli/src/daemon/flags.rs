use std::path::PathBuf;

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
    /// text or json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// trace, debug, info, warn or error
    #[arg(long, value_name = "LEVEL", env = "BUILDKITD_LOG_LEVEL")]
    pub log_level: Option<String>,
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
    /// How files are kept: auto or overlayfs
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
        debugaddr
        oci_worker_proxy_snapshotter_path oci_worker_platform oci_worker_binary
        oci_worker_apparmor_profile
        containerd_worker_addr containerd_worker_labels containerd_worker_platform
        containerd_worker_namespace containerd_worker_runtime containerd_worker_net
        containerd_worker_snapshotter containerd_worker_apparmor_profile
        containerd_worker_gc_keepstorage containerd_cni_config_path containerd_cni_binary_dir
        containerd_cni_pool_size containerd_max_parallelism
    }
    switches {
        rootless proxy_network save_cache_debug oci_worker_selinux oci_worker_no_process_sandbox
        oci_worker_rootless containerd_worker containerd_worker_selinux containerd_worker_gc
        containerd_worker_rootless
    }
}
