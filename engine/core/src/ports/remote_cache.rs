use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use cooper_proto::Digest;
use cooper_proto::cache_config::CacheConfig;

use super::{Cancelled, Events, ExportResponse};
use crate::model::{Failure, ResultId, SessionId};
use crate::remotecache::Chains;

/// Reads caches of one kind from where they are kept.
#[async_trait]
pub trait CacheImporter: Send + Sync {
    /// Name by which requests choose it: `registry`, `local`.
    fn kind(&self) -> &str;

    /// What the cache is called, as in `importing cache manifest from …` (parity sheet F).
    ///
    /// # Errors
    /// `InvalidInput` for attributes that name no cache.
    fn describe(&self, attributes: &BTreeMap<String, String>) -> Result<String, Failure>;

    /// Fetches the documents, and no layer. One place may have several, such as the images of an index.
    ///
    /// # Errors
    /// `NotFound` when nothing is there; others when it cannot be read. A build goes on without the cache then.
    async fn import(
        &self,
        request: CacheImportRequest,
        events: Events,
    ) -> Result<Vec<ImportedCache>, Failure>;
}

/// A cache to import.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CacheImportRequest {
    /// The client's attributes (parity sheet C3).
    pub attributes: BTreeMap<String, String>,
    /// Sessions that offer it and give credentials, the best first.
    pub sessions: Vec<SessionId>,
}

/// A cache that was imported: what it claims, and the way to its layers.
#[derive(Clone)]
pub struct ImportedCache {
    /// Its document. Nobody has checked it.
    pub config: CacheConfig,
    /// Where its layers are.
    pub layers: Arc<dyn ImportedLayers>,
}

/// The layers of an imported cache.
#[async_trait]
pub trait ImportedLayers: Send + Sync {
    /// Makes a result, pinned once, of layers by their blobs' digests, the bottom one first. Their bytes may come
    /// later, when they are needed. `None` when the cache does not say enough of one of them.
    ///
    /// # Errors
    /// `Infrastructure` when a store fails or the cache's place is gone.
    async fn compose(&self, blobs: &[Digest]) -> Result<Option<ResultId>, Failure>;
}

/// Writes caches of one kind to where they are kept.
#[async_trait]
pub trait CacheExporter: Send + Sync {
    /// Name by which requests choose it: `registry`, `local`.
    fn kind(&self) -> &str;

    /// The vertex name under which progress is shown, such as `exporting cache to registry` (parity sheet F).
    ///
    /// # Errors
    /// `InvalidInput` for an attribute that cannot be used; nothing has been done then.
    fn describe(&self, attributes: &BTreeMap<String, String>) -> Result<String, Failure>;

    /// Writes a cache.
    ///
    /// # Cancel
    /// When `cancelled` completes first, returns a `Cancelled` failure; what was written is of no cache.
    async fn export(
        &self,
        request: CacheExportRequest,
        events: Events,
        cancelled: Cancelled,
    ) -> Result<ExportResponse, Failure>;
}

/// How much of a cache is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheMode {
    /// Results whose layers the build's own results have.
    #[default]
    Min,
    /// Every result.
    Max,
}

/// A cache to write.
#[derive(Debug, Clone, Default)]
pub struct CacheExportRequest {
    /// The client's attributes (parity sheet C3).
    pub attributes: BTreeMap<String, String>,
    /// How much is written.
    pub mode: CacheMode,
    /// The keys and their results, which the caller has pinned.
    pub chains: Arc<Chains>,
    /// The build's own results.
    pub finals: Vec<ResultId>,
    /// Sessions that take it and give credentials, the best first.
    pub sessions: Vec<SessionId>,
}
