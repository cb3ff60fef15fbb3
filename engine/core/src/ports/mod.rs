//! What the engine needs from the world, one trait a need.
//!
//! Arguments are plain data from [`crate::model`], so that an implementation on another machine is a codec and not a
//! second design. Futures are `Send` and do nothing until polled. Unless a method says otherwise, dropping its
//! future is a fault of the caller: give it a [`Cancelled`] and wait. Questions (a source's or a content's key, a look into
//! a result, an image's configuration, a session's secret) may be dropped at any time; what they fetched until then is
//! kept whole or not at all.

mod blobs;
mod bridge;
mod cache;
mod containers;
mod content;
mod exporter;
mod files;
mod frontend;
mod remote_cache;
mod session;
mod source;
mod storage;
mod worker;

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::model::OpEvent;

pub use blobs::{BlobInfo, Blobs, Pieces};
pub use bridge::{Bridge, ImageAnswer, ImageQuery, RefId, ResolveMode, ResolvedImage};
pub use cache::{CacheStore, CachedResult, InputKey, KeyQuery, LookupAnswer};
pub use containers::{
    ContainerRequest, Containers, HeldContainer, HeldProcess, ProcessInput, ProcessOutput,
    ProcessRequest,
};
pub use content::{ClientContent, ContentReader, ContentWriter};
pub use exporter::{
    ExportPart, ExportRequest, ExportResponse, Exporter, Predicate, StatementSource,
};
pub use files::{FileStat, ReadFileRequest, ResultFiles, StatementChain, StatementQuery};
pub use frontend::{Frontend, FrontendPart, FrontendRequest, FrontendResult};
pub use remote_cache::{
    CacheExportRequest, CacheExporter, CacheImportRequest, CacheImporter, CacheMode, ImportedCache,
    ImportedLayers,
};
pub use session::{
    ChunkSink, ChunkSource, Credentials, DirFilter, ExportTarget, ExportTargetRequest,
    FoundExporter, LocalDir, PacketStream, RegistryToken, Session, Sessions, SshAgent,
    SshConnection, TokenQuery,
};
pub use source::{ChecksumAlgorithm, ChecksumRequest, GitMeta, HttpMeta, SourceMeta, SourceQuery};
pub use storage::Storage;
pub use worker::{
    ContentKeyRequest, OpOutcome, OpRequest, SourceKey, SourceKeyRequest, Worker, WorkerInfo,
};

/// Completes when the work it was given to should stop. Never completes when the work is wanted to its end.
pub type Cancelled = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Receives what happens inside an op, in order. Calls are cheap and never block.
pub trait EventSink: Send + Sync {
    /// Takes one event.
    fn emit(&self, event: OpEvent);
}

/// A shared [`EventSink`].
pub type Events = Arc<dyn EventSink>;
