use std::{collections::BTreeMap, path::PathBuf};

use super::RetryPolicy;

/// How one worker reaches registries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DistributionConfig {
    /// Settings by registry host as references spell it, such as `docker.io` or
    /// `localhost:5000`. Mirrors are looked up here too, by their own host.
    pub registries: BTreeMap<String, RegistryConfig>,
    /// How many blobs are read from or written to one host at a time. Manifests and
    /// questions have as many places again.
    pub max_concurrency: usize,
    /// What is tried again, and how often.
    pub retry: RetryPolicy,
    /// Blobs above this many bytes are uploaded in pieces of it, so that an upload that
    /// breaks off goes on where it was.
    pub upload_piece_bytes: u64,
    /// The largest manifest or index that is read, in bytes.
    pub manifest_bytes: u64,
}

impl Default for DistributionConfig {
    fn default() -> Self {
        Self {
            registries: BTreeMap::new(),
            // Parity sheet C7: system.maxRegistryConcurrency.
            max_concurrency: 4,
            retry: RetryPolicy::default(),
            upload_piece_bytes: 64 << 20,
            manifest_bytes: 4 << 20,
        }
    }
}

/// Settings of one registry (parity sheet C7, `registry."host"`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryConfig {
    /// Hosts, each with an optional path, that are asked before the registry itself when
    /// something is read.
    pub mirrors: Vec<String>,
    /// Plain HTTP or not. Unset: plain for loopback hosts, https for all others.
    pub http: Option<bool>,
    /// Do not verify the certificate; with plain HTTP allowed too, https is tried first.
    pub insecure: bool,
    /// PEM files of authorities to trust besides the system's.
    pub ca: Vec<PathBuf>,
    /// Client certificates.
    pub keypair: Vec<KeyPair>,
    /// Folders in which `*.crt` are authorities, and `*.cert` with `*.key` client
    /// certificates.
    pub tls_config_dir: Vec<PathBuf>,
    /// Hosts of token services that may be shown this registry's password, besides the
    /// registry's own host and its parent domain.
    pub token_hosts: Vec<String>,
}

/// A client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// PEM file of the private key.
    pub key: PathBuf,
    /// PEM file of the certificate chain.
    pub cert: PathBuf,
}

/// Whether a host (with or without port) names this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let name = host_name(host);
    name == "localhost"
        || name.ends_with(".localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// The host without its port and without the brackets of an IPv6 address.
pub(super) fn host_name(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_hosts_are_known_with_and_without_port() {
        for host in [
            "localhost",
            "localhost:5000",
            "127.0.0.1",
            "127.9.9.9:80",
            "[::1]",
            "[::1]:5000",
            "a.localhost:1",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "docker.io",
            "localhost.example.com",
            "127.0.0.1.nip.io",
            "10.0.0.1:5000",
            "[fe80::1]:5000",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
