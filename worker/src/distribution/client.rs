use std::{collections::HashMap, fmt, sync::Arc};

use parking_lot::Mutex;
use reqwest::{Client, Url};

use super::{
    DistributionConfig, DistributionError, Keychain, RetryPolicy,
    auth::Authorizer,
    bought::BoughtTokens,
    endpoint::{Host, outside_client},
    transport::Line,
};

/// Above this many remembered authorizations all are forgotten; they are bought anew.
const MOST_AUTHORIZERS: usize = 256;

/// One worker's way to all registries. Clones share connections, places and tokens.
#[derive(Clone)]
pub struct Distribution {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) config: DistributionConfig,
    outside: Client,
    hosts: Mutex<HashMap<(String, bool), Arc<Host>>>,
    authorizers: Mutex<HashMap<(String, String, bool), Arc<Authorizer>>>,
    bought: Arc<BoughtTokens>,
}

/// What will be done in a repository, which decides what tokens are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Pull,
    /// Reading and writing; the registry itself and never a mirror.
    Push,
}

/// A repository of a registry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryName {
    /// The registry as references spell it, such as `docker.io` or `localhost:5000`.
    pub registry: String,
    /// The path in it, such as `library/busybox`.
    pub path: String,
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

impl RepositoryName {
    /// The host that answers for the registry: Docker Hub's name is not its host's.
    fn wire_host(&self) -> &str {
        match self.registry.as_str() {
            "docker.io" | "index.docker.io" => "registry-1.docker.io",
            host => host,
        }
    }
}

/// One repository through the eyes of one build. Clones share what was learnt.
#[derive(Clone)]
pub struct Repository {
    pub(super) shared: Arc<Shared>,
    pub(super) name: RepositoryName,
    /// Where to ask, in order; the registry itself is last.
    pub(super) endpoints: Vec<Endpoint>,
    scopes: Vec<String>,
}

/// One place where a repository can be found.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) host: Arc<Host>,
    authorizer: Arc<Authorizer>,
    /// The repository's path on this host.
    path: String,
    /// The registry that this host mirrors.
    mirrored: Option<String>,
    scopes: Vec<String>,
}

impl Distribution {
    /// Prepares for registries. Nothing is read or sent yet.
    ///
    /// # Errors
    /// When the system's certificates cannot be used.
    pub fn new(config: DistributionConfig) -> Result<Self, DistributionError> {
        Ok(Self {
            shared: Arc::new(Shared {
                config,
                outside: outside_client()?,
                hosts: Mutex::default(),
                authorizers: Mutex::default(),
                bought: Arc::default(),
            }),
        })
    }

    /// How requests are tried again.
    pub(crate) fn retry(&self) -> &RetryPolicy {
        &self.shared.config.retry
    }

    /// A repository, for reading or writing.
    ///
    /// # Errors
    /// When the registry's settings cannot be used. Nothing is sent yet.
    pub fn repository(
        &self,
        name: &RepositoryName,
        access: Access,
        keychain: &Arc<dyn Keychain>,
    ) -> Result<Repository, DistributionError> {
        self.open(name, access, keychain, false)
    }

    /// A repository for writing, whose registry may have any certificate or none
    /// (`registry.insecure` of an exporter).
    ///
    /// # Errors
    /// As [`Self::repository`].
    pub fn insecure_repository(
        &self,
        name: &RepositoryName,
        keychain: &Arc<dyn Keychain>,
    ) -> Result<Repository, DistributionError> {
        self.open(name, Access::Push, keychain, true)
    }

    fn open(
        &self,
        name: &RepositoryName,
        access: Access,
        keychain: &Arc<dyn Keychain>,
        insecure: bool,
    ) -> Result<Repository, DistributionError> {
        let mut endpoints = Vec::new();
        let settings = self.shared.config.registries.get(&name.registry);
        let mirrors = settings.map(|it| it.mirrors.as_slice()).unwrap_or_default();
        for mirror in mirrors.iter().filter(|_| access == Access::Pull) {
            let mirror = mirror
                .trim_start_matches("https://")
                .trim_start_matches("http://");
            let (host, prefix) = mirror.split_once('/').unwrap_or((mirror, ""));
            let prefix = prefix.trim_matches('/');
            let path = match prefix {
                "" => name.path.clone(),
                prefix => format!("{prefix}/{}", name.path),
            };
            let mirrored = Some(name.registry.clone());
            endpoints.push(self.endpoint(
                (host, host),
                path,
                access,
                keychain,
                insecure,
                mirrored,
            )?);
        }
        let hosts = (name.registry.as_str(), name.wire_host());
        endpoints.push(self.endpoint(
            hosts,
            name.path.clone(),
            access,
            keychain,
            insecure,
            None,
        )?);
        Ok(Repository {
            shared: Arc::clone(&self.shared),
            name: name.clone(),
            endpoints,
            scopes: Vec::new(),
        })
    }

    fn endpoint(
        &self,
        (settings, host): (&str, &str),
        path: String,
        access: Access,
        keychain: &Arc<dyn Keychain>,
        insecure: bool,
        mirrored: Option<String>,
    ) -> Result<Endpoint, DistributionError> {
        let actions = match access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        let authorizer = {
            let mut known = self.shared.authorizers.lock();
            if known.len() > MOST_AUTHORIZERS {
                known.clear();
            }
            let key = (keychain.identity(), host.to_owned(), insecure);
            let bought = &self.shared.bought;
            let new = || Arc::new(Authorizer::new(Arc::clone(keychain), Arc::clone(bought)));
            Arc::clone(known.entry(key).or_insert_with(new))
        };
        Ok(Endpoint {
            host: self.host(settings, host, insecure)?,
            authorizer,
            scopes: vec![format!("repository:{path}:{actions}")],
            path,
            mirrored,
        })
    }

    fn host(
        &self,
        settings: &str,
        host: &str,
        insecure: bool,
    ) -> Result<Arc<Host>, DistributionError> {
        let mut hosts = self.shared.hosts.lock();
        let key = (host.to_owned(), insecure);
        if let Some(known) = hosts.get(&key) {
            return Ok(Arc::clone(known));
        }
        let config = &self.shared.config;
        let mut registry = config
            .registries
            .get(settings)
            .or_else(|| config.registries.get(host))
            .cloned()
            .unwrap_or_default();
        if insecure {
            registry.insecure = true;
            registry.http = Some(true);
        }
        let opened = Arc::new(Host::open(host, registry, config.max_concurrency)?);
        hosts.insert(key, Arc::clone(&opened));
        Ok(opened)
    }
}

impl Repository {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &RepositoryName {
        &self.name
    }

    /// The same repository with leave to read others of the same registry too, which
    /// mounting their blobs needs.
    #[must_use]
    pub fn with_sources(mut self, others: &[RepositoryName]) -> Self {
        self.scopes = others
            .iter()
            .filter(|it| it.registry == self.name.registry && it.path != self.name.path)
            .map(|it| format!("repository:{}:pull", it.path))
            .collect();
        self.scopes.sort();
        self.scopes.dedup();
        for endpoint in &mut self.endpoints {
            endpoint.scopes.extend(self.scopes.iter().cloned());
        }
        self
    }

    /// The registry itself, not a mirror of it.
    pub(super) fn origin(&self) -> &Endpoint {
        self.endpoints
            .last()
            .expect("a repository has its registry as the last endpoint")
    }

    pub(super) fn line<'a>(&'a self, endpoint: &'a Endpoint) -> Line<'a> {
        Line {
            host: &endpoint.host,
            outside: &self.shared.outside,
            authorizer: &endpoint.authorizer,
            scopes: &endpoint.scopes,
            retry: &self.shared.config.retry,
        }
    }

    pub(super) fn outside(&self) -> &Client {
        &self.shared.outside
    }
}

impl Endpoint {
    /// The address of something in the repository, such as `manifests/latest`.
    pub(super) fn url(&self, rest: &str) -> Result<Url, DistributionError> {
        let mut url = self.host.url(&format!("{}/{rest}", self.path))?;
        if let Some(registry) = &self.mirrored {
            // How containerd's mirrors learn whose content is meant.
            url.query_pairs_mut().append_pair("ns", registry);
        }
        Ok(url)
    }
}
