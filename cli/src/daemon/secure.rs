//! TLS for listeners: who the daemon is, and which clients it takes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use cooper_engine::server::Connection;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// How long a client may take to say who it is.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The files of a TLS listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The daemon's certificate, with those that lead to its root.
    pub cert: PathBuf,
    /// The certificate's key.
    pub key: PathBuf,
    /// Certificates of who may vouch for clients; any client is taken without.
    pub ca: Option<PathBuf>,
}

/// Reads the files.
///
/// # Errors
/// When one cannot be read or they do not fit together.
pub(super) fn acceptor(files: &TlsFiles) -> anyhow::Result<TlsAcceptor> {
    let chain = certificates(&files.cert)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .with_context(|| format!("reading the key {}", files.key.display()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = match &files.ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let unreadable = || format!("reading the certificates {}", path.display());
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .with_context(unreadable)?
        .collect::<Result<_, _>>()
        .with_context(unreadable)?;
    anyhow::ensure!(!found.is_empty(), "{} has no certificate", path.display());
    Ok(found)
}

/// Shakes hands with a client.
///
/// # Errors
/// When the client is too slow, or not one that is taken.
pub(super) async fn handshake(acceptor: TlsAcceptor, stream: TcpStream) -> io::Result<Connection> {
    let shaken = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await;
    let link = shaken.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok(Connection::new(link))
}
