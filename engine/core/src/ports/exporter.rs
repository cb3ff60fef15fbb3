use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Cancelled, Events};
use crate::model::{Attestation, Failure, ResultId, SessionId};
use crate::remotecache::Chains;

/// Makes something for the world out of results: an image, an archive, files.
#[async_trait]
pub trait Exporter: Send + Sync {
    /// Name by which requests choose it: `image`, `oci`, `docker`, `local`, `tar`.
    fn kind(&self) -> &str;

    /// The vertex name under which progress is shown, such as `exporting to image` (parity sheet F).
    ///
    /// # Errors
    /// `InvalidInput` for an attribute that the exporter does not know or cannot use; nothing has been done then.
    fn describe(&self, attributes: &BTreeMap<String, String>) -> Result<String, Failure>;

    /// Exports.
    ///
    /// # Cancel
    /// When `cancelled` completes first, returns a `Cancelled` failure; blobs already made stay usable.
    async fn export(
        &self,
        request: ExportRequest,
        events: Events,
        cancelled: Cancelled,
    ) -> Result<ExportResponse, Failure>;
}

/// What to export.
#[derive(Debug, Clone, Default)]
pub struct ExportRequest {
    /// Position of this exporter in the client's request.
    pub index: u32,
    /// The client's attributes (parity sheet C2).
    pub attributes: BTreeMap<String, String>,
    /// One part a platform, pinned by the caller.
    pub parts: Vec<ExportPart>,
    /// The frontend's metadata.
    pub metadata: BTreeMap<String, Bytes>,
    /// Statements about the parts, by the ids of the platforms that the metadata lists.
    pub attestations: BTreeMap<String, Vec<Attestation<StatementSource>>>,
    /// Sessions that take the output and give credentials, the best first.
    pub sessions: Vec<SessionId>,
    /// The time of the export in nanoseconds since 1970, for what has no other.
    pub now_ns: u64,
}

/// One platform's part of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportPart {
    /// Platform id such as `linux/arm64`, `None` for a single result.
    pub platform: Option<String>,
    /// The file system, `None` when it is empty.
    pub result: Option<ResultId>,
    /// The keys and results that led to it, when they are to be written into the image (`type=inline`).
    pub inline_cache: Option<Arc<Chains>>,
}

/// Where an exporter finds the words of a statement.
#[derive(Debug, Clone)]
pub enum StatementSource {
    /// In a result, which is pinned by the caller; `None` is the empty file system.
    Result(Option<ResultId>),
    /// The engine has them. Only these may be provenance: who builds cannot say himself where the result came from.
    Engine(Arc<dyn Predicate>),
}

/// A predicate that the engine makes. It may tell of what an export makes, such as layers: so it is asked for when
/// that is there.
#[async_trait]
pub trait Predicate: std::fmt::Debug + Send + Sync {
    /// The predicate.
    ///
    /// # Errors
    /// When what it tells of cannot be looked up.
    async fn json(&self) -> Result<Bytes, Failure>;
}

/// What the client is told, such as `containerimage.digest`.
pub type ExportResponse = BTreeMap<String, String>;
