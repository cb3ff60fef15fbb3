use std::path::PathBuf;

/// How steps are connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSettings {
    /// What a step gets that is not told otherwise.
    pub mode: NetworkMode,
    /// Configuration of CNI plugins: of one (`.json`, `.conf`), or a list (`.conflist`).
    pub cni_config: PathBuf,
    /// Folder of the plugins' programs.
    pub cni_programs: PathBuf,
    /// Namespaces that are made ahead and kept.
    pub pool_size: usize,
    /// Name of the bridge of [`NetworkMode::Bridge`].
    pub bridge_name: String,
    /// Addresses on it, such as `10.10.0.0/16`.
    pub bridge_subnet: String,
    /// A file whose lock is held while the first namespace is made, for engines that start at the same time.
    pub start_lock: Option<PathBuf>,
    /// What steps are told of name servers.
    pub dns: DnsSettings,
}

/// What a step gets that is not told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NetworkMode {
    /// [`Self::Cni`] where its configuration exists, else [`Self::Host`].
    #[default]
    Auto,
    /// The machine's own network.
    Host,
    /// What the CNI configuration says.
    Cni,
    /// A bridge of ours, made with CNI's usual plugins.
    Bridge,
}

/// What steps are told of name servers, in the place of what the machine is told. Empty lists change nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DnsSettings {
    /// Addresses of servers.
    pub nameservers: Vec<String>,
    /// Options of the resolver.
    pub options: Vec<String>,
    /// Domains to look in.
    pub search_domains: Vec<String>,
}

impl Default for NetworkSettings {
    /// As buildkitd's (parity sheet C7).
    fn default() -> Self {
        Self {
            mode: NetworkMode::Auto,
            cni_config: "/etc/buildkit/cni.json".into(),
            cni_programs: "/opt/cni/bin".into(),
            pool_size: 0,
            bridge_name: "buildkit0".into(),
            bridge_subnet: "10.10.0.0/16".into(),
            start_lock: None,
            dns: DnsSettings::default(),
        }
    }
}
