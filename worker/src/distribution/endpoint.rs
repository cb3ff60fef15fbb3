use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use reqwest::{Certificate, Client, Identity, Url};
use tokio::sync::Semaphore;

use super::{
    DistributionError, RegistryConfig,
    config::{KeyPair, host_name, is_loopback},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection may be silent in the middle of an answer.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// How we name ourselves to servers.
///
/// Servers that treat build engines in a way of their own know BuildKit's name: it stands behind ours, with the version
/// whose ways we have.
pub(crate) const USER_AGENT: &str =
    concat!("cooper/", env!("CARGO_PKG_VERSION"), " buildkit/v0.31.0");

/// One host that answers registry requests, with its connections and places.
#[derive(Debug)]
pub(super) struct Host {
    /// Host and port as they are dialled.
    pub(super) host: String,
    /// Settings.
    pub(super) config: RegistryConfig,
    /// Connections, with this host's trust and client certificates.
    pub(super) client: Client,
    /// Places for blobs.
    pub(super) blobs: Semaphore,
    /// Places for what is small.
    pub(super) small: Semaphore,
    schemes: &'static [&'static str],
    scheme: AtomicUsize,
}

impl Host {
    /// Reads the host's certificates and prepares its connections. Nothing is sent.
    pub(super) fn open(
        host: &str,
        config: RegistryConfig,
        places: usize,
    ) -> Result<Self, DistributionError> {
        let client = client(host, &config)?;
        let plain = config.http.unwrap_or_else(|| is_loopback(host));
        let schemes: &[&str] = match (plain, config.insecure) {
            (true, true) => &["https", "http"],
            (true, false) => &["http"],
            (false, _) => &["https"],
        };
        Ok(Self {
            host: host.to_owned(),
            config,
            client,
            blobs: Semaphore::new(places.max(1)),
            small: Semaphore::new(places.max(1)),
            schemes,
            scheme: AtomicUsize::new(0),
        })
    }

    /// The address of a path below the API's root.
    pub(super) fn url(&self, path: &str) -> Result<Url, DistributionError> {
        let text = format!("{}://{}/v2/{path}", self.scheme(), self.host);
        Url::parse(&text).map_err(|error| DistributionError::Config {
            host: self.host.clone(),
            reason: format!("no address can be made of this host: {error}"),
        })
    }

    /// The scheme in use now.
    pub(super) fn scheme(&self) -> &'static str {
        self.schemes[self.scheme.load(Ordering::Relaxed)]
    }

    /// After a failed connection: changes to plain HTTP where the settings allow both.
    /// `false` when there is nothing left to try.
    pub(super) fn fall_back(&self, failed: &str) -> bool {
        let next = self.scheme.load(Ordering::Relaxed) + 1;
        if self.scheme() != failed {
            return true;
        }
        if next < self.schemes.len() {
            self.scheme.store(next, Ordering::Relaxed);
            return true;
        }
        false
    }

    /// Whether a token service may be shown this host's password (security.md I9, T-C4).
    ///
    /// Its own host and parent domain may, Docker Hub's well-known one, and what the
    /// settings list; and never over plain HTTP unless the registry itself is spoken to so.
    pub(super) fn trusts_token_service(&self, realm: &Url) -> bool {
        let Some(service) = realm.host_str() else {
            return false;
        };
        let service = service.trim_matches(['[', ']']);
        let own = host_name(&self.host);
        if realm.scheme() != "https" && (self.scheme() != "http" || service != own) {
            return false;
        }
        let parent = own
            .split_once('.')
            .is_some_and(|(_, parent)| parent == service && parent.contains('.'));
        let named = self
            .config
            .token_hosts
            .iter()
            .any(|host| host_name(host) == service);
        let hub = own == "registry-1.docker.io" && service == "auth.docker.io";
        service == own || parent && own.parse::<std::net::IpAddr>().is_err() || named || hub
    }
}

/// Whether two addresses have the same scheme, host and port.
pub(super) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host_str() == b.host_str()
        && a.port_or_known_default() == b.port_or_known_default()
}

/// Connections for hosts that have no settings of their own.
pub(super) fn outside_client() -> Result<Client, DistributionError> {
    client("other hosts", &RegistryConfig::default())
}

fn client(host: &str, config: &RegistryConfig) -> Result<Client, DistributionError> {
    let mut builder = Client::builder()
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(SILENCE_TIMEOUT)
        // Several connections carry more than the flow control of one HTTP/2 connection.
        .http1_only()
        .tls_danger_accept_invalid_certs(config.insecure);
    let (authorities, pairs) = certificate_files(config);
    for path in &authorities {
        let pem = read(host, path)?;
        let parsed = Certificate::from_pem_bundle(&pem)
            .map_err(|error| refused(host, path, error.to_string()))?;
        builder = builder.tls_certs_merge(parsed);
    }
    if let Some(pair) = pairs.first() {
        let mut pem = read(host, &pair.key)?;
        pem.push(b'\n');
        pem.extend(read(host, &pair.cert)?);
        let identity = Identity::from_pem(&pem)
            .map_err(|error| refused(host, &pair.cert, error.to_string()))?;
        builder = builder.identity(identity);
    }
    if pairs.len() > 1 {
        return Err(DistributionError::Config {
            host: host.to_owned(),
            reason: "more than one client certificate is not supported yet".into(),
        });
    }
    builder.build().map_err(|error| DistributionError::Config {
        host: host.to_owned(),
        reason: super::transport::reasons(&error),
    })
}

fn certificate_files(config: &RegistryConfig) -> (Vec<std::path::PathBuf>, Vec<KeyPair>) {
    let mut authorities = config.ca.clone();
    let mut pairs = config.keypair.clone();
    for folder in &config.tls_config_dir {
        // A folder that is not there or not ours to read gives nothing, as with BuildKit.
        let Ok(entries) = fs::read_dir(folder) else {
            continue;
        };
        let mut paths: Vec<_> = entries
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .collect();
        paths.sort();
        for path in paths {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => authorities.push(path),
                Some("cert") => pairs.push(KeyPair {
                    key: path.with_extension("key"),
                    cert: path,
                }),
                _ => {}
            }
        }
    }
    (authorities, pairs)
}

fn read(host: &str, path: &Path) -> Result<Vec<u8>, DistributionError> {
    fs::read(path).map_err(|error| refused(host, path, error.to_string()))
}

fn refused(host: &str, path: &Path, reason: String) -> DistributionError {
    DistributionError::Config {
        host: host.to_owned(),
        reason: format!("{}: {reason}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, config: RegistryConfig) -> Host {
        Host::open(name, config, 1).unwrap()
    }

    fn trusts(host: &Host, realm: &str) -> bool {
        host.trusts_token_service(&Url::parse(realm).unwrap())
    }

    // T-C4
    #[test]
    fn a_password_is_shown_to_the_registrys_own_token_service_only() {
        let hub = host("registry-1.docker.io", RegistryConfig::default());
        assert!(trusts(&hub, "https://auth.docker.io/token"));
        assert!(!trusts(&hub, "http://auth.docker.io/token"));
        assert!(!trusts(&hub, "https://auth.docker.io.evil.example/token"));
        let gitlab = host("registry.gitlab.com", RegistryConfig::default());
        assert!(trusts(&gitlab, "https://gitlab.com/jwt/auth"));
        assert!(!trusts(&gitlab, "https://evil.gitlab.com/jwt/auth"));
        assert!(!trusts(&gitlab, "https://com/jwt/auth"));
        let azure = host("me.azurecr.io", RegistryConfig::default());
        assert!(trusts(&azure, "https://me.azurecr.io/oauth2/token"));
        assert!(!trusts(&azure, "https://evil.azurecr.io/oauth2/token"));
        assert!(!trusts(&azure, "https://evilazurecr.io.attacker/x"));
        let local = host("127.0.0.1:5000", RegistryConfig::default());
        assert!(trusts(&local, "http://127.0.0.1:5001/token"));
        assert!(!trusts(&local, "http://10.0.0.1/token"));
        assert!(!trusts(&local, "https://0.0.1/token"));
        let listed = RegistryConfig {
            token_hosts: vec!["sso.example.org".into()],
            ..RegistryConfig::default()
        };
        let listed = host("r.example.com", listed);
        assert!(trusts(&listed, "https://sso.example.org/t"));
        assert!(trusts(&listed, "https://example.com/t"));
    }

    #[test]
    fn plain_http_is_for_loopback_unless_the_settings_say_otherwise() {
        let scheme = |name: &str, http, insecure| {
            let config = RegistryConfig {
                http,
                insecure,
                ..RegistryConfig::default()
            };
            host(name, config).scheme()
        };
        assert_eq!(scheme("localhost:5000", None, false), "http");
        assert_eq!(scheme("localhost:5000", Some(false), false), "https");
        assert_eq!(scheme("example.com", None, false), "https");
        assert_eq!(scheme("example.com", None, true), "https");
        assert_eq!(scheme("example.com", Some(true), false), "http");
    }
}
