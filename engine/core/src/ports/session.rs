use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_proto::fsutil;
use cooper_proto::policy_session::{CheckPolicyRequest, CheckPolicyResponse};

use super::{ClientContent, RefId};
use crate::model::{Failure, FailureKind, SessionId};

/// Finds the sessions that are attached now.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// The session, waiting a few seconds for one that has not attached yet.
    ///
    /// # Errors
    /// `Infrastructure` when it did not come or has gone.
    async fn session(&self, id: &SessionId) -> Result<Arc<dyn Session>, Failure>;
}

/// The client's side of a build: its files, secrets, credentials and the places its outputs go to.
///
/// A client in this process is a plain object; one behind a connection speaks the session services of the wire.
#[async_trait]
pub trait Session: Send + Sync {
    /// The session's id.
    fn id(&self) -> &SessionId;

    /// A name that several sessions of one client share, so that a directory sent once is not sent again; may be empty.
    fn shared_key(&self) -> &str;

    /// Opens a directory that the client offers under a name.
    ///
    /// # Errors
    /// `NotFound` when the client offers no directory of that name.
    async fn local_dir(&self, name: &str, filter: &DirFilter) -> Result<LocalDir, Failure>;

    /// A secret's value, `None` when the client has no secret of that id. Never logged, stored or hashed.
    async fn secret(&self, id: &str) -> Result<Option<Bytes>, Failure>;

    /// Name and password for a registry host, `None` for anonymous.
    async fn credentials(&self, host: &str) -> Result<Option<Credentials>, Failure>;

    /// The public key by which the client stands for its credentials of a host, so that it can buy tokens itself and its
    /// password stays with it; `None`, as here, for a client that gives [`Session::credentials`] instead. Another
    /// `salt` gives another key.
    async fn token_authority(&self, host: &str, salt: &[u8]) -> Result<Option<Bytes>, Failure> {
        let _ = (host, salt);
        Ok(None)
    }

    /// The payload with the signature by that key in front of it (NaCl's `sign`).
    ///
    /// # Errors
    /// `Unsupported`, as here, for a client that has no such key.
    async fn sign_token_authority(
        &self,
        host: &str,
        salt: &[u8],
        payload: &[u8],
    ) -> Result<Bytes, Failure> {
        let _ = (host, salt, payload);
        Err(Failure::unsupported("vouching for tokens by this client"))
    }

    /// Has the client buy a token.
    ///
    /// # Errors
    /// The client's own; `Unsupported`, as here, for a client that buys none.
    async fn fetch_token(&self, query: &TokenQuery) -> Result<RegistryToken, Failure> {
        let _ = query;
        Err(Failure::unsupported("buying tokens by this client"))
    }

    /// The directory of an OCI image layout that the client offers under a store's name, on a
    /// disk that the worker shares.
    ///
    /// # Errors
    /// `NotFound` when the client offers no such layout; `Unsupported`, as here, for a client
    /// that can only be asked over a connection.
    async fn oci_layout(&self, store: &str) -> Result<PathBuf, Failure> {
        let _ = store;
        Err(Failure::unsupported(
            "an OCI layout (oci-layout://) of a client that is not in this process",
        ))
    }

    /// The SSH agent, or other socket, that the client forwards under an id; an empty id means `default`.
    ///
    /// # Errors
    /// `NotFound`, as here, when the client forwards none of that id.
    async fn ssh_agent(&self, id: &str) -> Result<Box<dyn SshAgent>, Failure> {
        Err(Failure::new(
            FailureKind::NotFound,
            format!("no SSH key {id:?} forwarded from the client"),
        ))
    }

    /// Reads what the client uploads under an address of its own, `http://buildkit-session/<id>`: an archive or a
    /// Dockerfile from its standard input. `path` is the address's, with its slash.
    ///
    /// # Errors
    /// `NotFound` when the client uploads nothing under it; `Unsupported`, as here, for a client that uploads nothing.
    async fn upload(&self, host: &str, path: &str) -> Result<Box<dyn ChunkSource>, Failure> {
        let _ = (host, path);
        Err(Failure::unsupported(
            "an upload (http://buildkit-session/) from this client",
        ))
    }

    /// Opens a store of blobs that the client offers under a name.
    ///
    /// # Errors
    /// `NotFound` when the client offers none of that name; `Unsupported`, as here, for a client that offers none.
    async fn content(&self, store: &str) -> Result<Box<dyn ClientContent>, Failure> {
        Err(Failure::unsupported(format!(
            "the content store {store:?} of this client"
        )))
    }

    /// Exporters that the client wants now that it knows the build's results, beside those of its request; none, as
    /// here, for a client that says nothing.
    async fn find_exporters(
        &self,
        metadata: &BTreeMap<String, Bytes>,
        refs: &[RefId],
    ) -> Result<Vec<FoundExporter>, Failure> {
        let _ = (metadata, refs);
        Ok(Vec::new())
    }

    /// Tells the client what all exporters told, before the build ends.
    ///
    /// # Errors
    /// The client's own, which fail the build.
    async fn finalize_export(&self, response: &BTreeMap<String, String>) -> Result<(), Failure> {
        let _ = response;
        Ok(())
    }

    /// Asks the client to decide about a source (parity sheet C4, policy session).
    ///
    /// # Errors
    /// `Unsupported`, as here, for a client that decides nothing.
    async fn check_policy(
        &self,
        request: CheckPolicyRequest,
    ) -> Result<CheckPolicyResponse, Failure> {
        let _ = request;
        Err(Failure::unsupported(
            "deciding about sources in this client",
        ))
    }

    /// Opens the place that an export goes to.
    async fn export_target(&self, request: ExportTargetRequest) -> Result<ExportTarget, Failure>;
}

/// A token that a client is to buy from a registry's token service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenQuery {
    /// The registry.
    pub host: String,
    /// The token service's address, from the registry's challenge.
    pub realm: String,
    /// What the service knows the registry as; may be empty.
    pub service: String,
    /// What the token is to allow.
    pub scopes: Vec<String>,
}

/// A token that a client bought. It is a password for a while: never logged, stored or hashed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct RegistryToken {
    /// What goes behind `Bearer`.
    pub token: String,
    /// How long it lives from when it was issued, when that is known.
    pub life: Option<Duration>,
    /// When it was issued, in seconds since 1970; just now when that is not known.
    pub issued: Option<u64>,
}

impl std::fmt::Debug for RegistryToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryToken")
            .field("life", &self.life)
            .field("issued", &self.issued)
            .finish_non_exhaustive()
    }
}

/// An exporter that a client wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FoundExporter {
    /// `image`, `oci`, `docker`, `local` or `tar`.
    pub kind: String,
    /// Parity sheet C2.
    pub attributes: BTreeMap<String, String>,
}

/// What of a directory is wanted (parity sheet D, FileSync request metadata). Empty lists mean no restriction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DirFilter {
    /// Only what matches one of these.
    pub include_patterns: Vec<String>,
    /// Nothing that matches these, as in a `.dockerignore`.
    pub exclude_patterns: Vec<String>,
    /// These paths and what their links lead to; may hold wildcards.
    pub follow_paths: Vec<String>,
}

/// A client's directory.
pub enum LocalDir {
    /// On a disk that the worker shares: read in place.
    OnDisk(PathBuf),
    /// At the other end of a DiffCopy stream, filters already sent; the worker is the receiver.
    Remote(Box<dyn PacketStream>),
}

/// One DiffCopy conversation (parity sheet D, fsutil packets).
#[async_trait]
pub trait PacketStream: Send {
    /// Sends a packet.
    async fn send(&mut self, packet: fsutil::Packet) -> Result<(), Failure>;
    /// The next packet, `None` at the end of the stream.
    async fn receive(&mut self) -> Result<Option<fsutil::Packet>, Failure>;
}

/// A one-way stream of bytes to the client.
#[async_trait]
pub trait ChunkSink: Send {
    /// Sends a chunk, waiting while the client is behind.
    async fn send(&mut self, chunk: Bytes) -> Result<(), Failure>;
    /// Ends the stream and waits until the client has it all.
    async fn finish(self: Box<Self>) -> Result<(), Failure>;
}

/// A one-way stream of bytes from the client.
#[async_trait]
pub trait ChunkSource: Send {
    /// The next chunk, `None` at the end of the stream.
    async fn receive(&mut self) -> Result<Option<Bytes>, Failure>;
}

/// A socket of the client's that steps and sources may talk to (parity sheet D, `moby.sshforward.v1`).
#[async_trait]
pub trait SshAgent: Send + Sync {
    /// Opens one connection. The two ways end one by one: finishing the sink lets the client still answer.
    async fn connect(&self) -> Result<SshConnection, Failure>;
}

/// Both ways of one connection. Dropping both ends it.
pub struct SshConnection {
    /// To the client.
    pub sink: Box<dyn ChunkSink>,
    /// From the client.
    pub source: Box<dyn ChunkSource>,
}

/// What an exporter wants to send.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExportTargetRequest {
    /// Position of the exporter in the request.
    pub exporter: u32,
    /// Whether files are sent (`true`) or one stream of bytes.
    pub directory: bool,
    /// What the client is told of the stream (`exporter-md-*`).
    pub metadata: BTreeMap<String, String>,
}

/// Where an export goes.
pub enum ExportTarget {
    /// A directory on a disk that the worker shares. Paths below it are the client's and are confined.
    Directory(PathBuf),
    /// A directory at the other end of a DiffCopy stream; the worker is the sender.
    RemoteDirectory(Box<dyn PacketStream>),
    /// One stream of bytes.
    Stream(Box<dyn ChunkSink>),
}

/// Name and password for a registry.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// User name; empty when `secret` is an identity token.
    pub username: String,
    /// Password or identity token.
    pub secret: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}
