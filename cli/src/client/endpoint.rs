use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cooper_core::model::{Failure, FailureKind};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::address::DaemonAddress;

/// Where Debian and its kin keep the certificates of who may vouch for anybody.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Time between two tries to connect.
const PAUSE: Duration = Duration::from_millis(100);

/// A daemon's address and how to talk to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is.
    pub address: DaemonAddress,
    /// Files for TLS; plain without.
    pub tls: Option<ClientTlsFiles>,
    /// How long connecting may take.
    pub timeout: Duration,
    /// Whether a daemon that is not there yet is waited for.
    pub wait: bool,
}

/// The files of a client that speaks TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTlsFiles {
    /// Name that the daemon's certificate must have, where it is not the address's host.
    pub server_name: Option<String>,
    /// Certificates of who may vouch for the daemon; those of the system without.
    pub ca: Option<PathBuf>,
    /// The client's own certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A connection's bytes both ways.
pub(super) trait Link: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Link for T {}

impl Endpoint {
    /// Connects to a socket; not for programs, which are started.
    ///
    /// # Errors
    /// `Infrastructure` when nobody listens in time, or is not who the certificates say.
    pub(super) async fn connect(&self) -> Result<Box<dyn Link>, Failure> {
        let end = tokio::time::Instant::now() + self.timeout;
        loop {
            let tried = tokio::time::timeout_at(end, self.connect_once()).await;
            match tried {
                Ok(Ok(link)) => return self.secure(link).await,
                Ok(Err(error)) if !self.wait || tokio::time::Instant::now() >= end => {
                    return Err(self.unreachable(&error));
                }
                Ok(Err(_)) => tokio::time::sleep(PAUSE).await,
                Err(_) => return Err(self.unreachable(&"nobody answers in time")),
            }
        }
    }

    async fn connect_once(&self) -> io::Result<Box<dyn Link>> {
        Ok(match &self.address {
            DaemonAddress::Unix(path) => Box::new(UnixStream::connect(path).await?),
            DaemonAddress::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            DaemonAddress::Program(program) => {
                return Err(io::Error::other(format!("{program} is no socket")));
            }
        })
    }

    async fn secure(&self, link: Box<dyn Link>) -> Result<Box<dyn Link>, Failure> {
        let Some(files) = &self.tls else {
            return Ok(link);
        };
        let config = client_config(files)?;
        let name = files.server_name.as_deref().unwrap_or(self.address.host());
        let name = ServerName::try_from(name.to_owned()).map_err(|_| {
            Failure::new(
                FailureKind::InvalidInput,
                format!("{name:?} cannot be the name in a certificate"),
            )
            .with_hint("say with --tlsservername which name the daemon's certificate has")
        })?;
        let shaking = TlsConnector::from(Arc::new(config)).connect(name, link);
        match tokio::time::timeout(self.timeout, shaking).await {
            Ok(Ok(link)) => Ok(Box::new(link)),
            Ok(Err(error)) => Err(self.unreachable(&error)),
            Err(_) => Err(self.unreachable(&"the TLS handshake takes too long")),
        }
    }

    /// What is said of a daemon that cannot be used.
    pub(super) fn unreachable(&self, why: &dyn std::fmt::Display) -> Failure {
        let words = format!("cannot connect to the daemon at {}: {why}", self.address);
        Failure::new(FailureKind::Infrastructure, words)
    }
}

fn client_config(files: &ClientTlsFiles) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    let ca = files.ca.as_deref().unwrap_or(Path::new(SYSTEM_ROOTS));
    for certificate in certificates(ca)? {
        // A system's bundle may have one that is too odd to be used; one's own must be good.
        let added = roots.add(certificate);
        if files.ca.is_some() {
            added.map_err(|error| unusable(ca, &error))?;
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::new(FailureKind::Internal, error.to_string()))?
        .with_root_certificates(roots);
    let mut config = match &files.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let secret =
                PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
            builder
                .with_client_auth_cert(chain, secret)
                .map_err(|error| unusable(certificate, &error))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(unusable(path, &"it has no certificate")),
        Err(error) => Err(unusable(path, &error)),
    }
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    let words = format!("the TLS file {}: {error}", path.display());
    Failure::new(FailureKind::InvalidInput, words)
}
