use std::collections::BTreeMap;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_proto::Digest;
use cooper_proto::oci::Descriptor;

use super::Events;
use super::bridge::{ImageQuery, ResolvedImage};
use super::source::{SourceMeta, SourceQuery};
use crate::model::{Failure, ResultId, SessionId};

/// Looks into results and images without running anything. All paths are confined to the result.
#[async_trait]
pub trait ResultFiles: Send + Sync {
    /// Reads a regular file.
    ///
    /// # Errors
    /// `NotFound` when there is no such file, `InvalidInput` when it is not a regular file or too large.
    async fn read_file(&self, request: ReadFileRequest) -> Result<Bytes, Failure>;

    /// Lists a directory, sorted by name; `include_pattern` empty lists all.
    async fn read_dir(
        &self,
        result: &ResultId,
        path: &str,
        include_pattern: &str,
        sessions: &[SessionId],
    ) -> Result<Vec<FileStat>, Failure>;

    /// Describes one path, not following a link at its end.
    async fn stat_file(
        &self,
        result: &ResultId,
        path: &str,
        sessions: &[SessionId],
    ) -> Result<FileStat, Failure>;

    /// Finds an image's digest and configuration.
    async fn resolve_image(
        &self,
        query: &ImageQuery,
        sessions: &[SessionId],
        events: Events,
    ) -> Result<ResolvedImage, Failure>;

    /// The archives that a result's layers are known as, the lowest first; `None`, as here, where one of them was not
    /// made yet.
    async fn layer_blobs(&self, result: &ResultId) -> Result<Option<Vec<Descriptor>>, Failure> {
        let _ = result;
        Ok(None)
    }

    /// Finds what the index that an image was chosen from says of the image; `None` for an image without an index.
    ///
    /// # Errors
    /// `NotFound` when there is no such image, `Unsupported`, as here, when statements cannot be read.
    async fn resolve_statements(
        &self,
        query: &StatementQuery,
        sessions: &[SessionId],
    ) -> Result<Option<StatementChain>, Failure> {
        let _ = sessions;
        Err(Failure::unsupported(format!(
            "resolving the attestations of {}",
            query.image.reference
        )))
    }

    /// Finds out what a file by URL or a repository's reference is now.
    ///
    /// # Errors
    /// `NotFound` when it does not exist, `Unsupported`, as here, when such sources are not built.
    async fn resolve_source(
        &self,
        query: &SourceQuery,
        sessions: &[SessionId],
        events: Events,
    ) -> Result<SourceMeta, Failure> {
        let _ = (sessions, events);
        Err(Failure::unsupported(format!(
            "the metadata of the source {}",
            query.source.identifier
        )))
    }
}

/// An image of which is wanted what is said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementQuery {
    /// The image.
    pub image: ImageQuery,
    /// The types of predicates whose statements are wanted whole.
    pub predicate_types: Vec<String>,
}

/// What an index says of one of its images, and what leads there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementChain {
    /// The index.
    pub root: Digest,
    /// The image's manifest.
    pub image: Digest,
    /// The manifest of statements about it.
    pub statements: Option<Digest>,
    /// The index, the manifest of statements and the statements that were wanted.
    pub blobs: BTreeMap<Digest, (Descriptor, Bytes)>,
}

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadFileRequest {
    /// The result.
    pub result: ResultId,
    /// Path inside it; links are followed inside it.
    pub path: String,
    /// Bytes to read; all when `None`.
    pub range: Option<Range<u64>>,
    /// Sessions whose credentials may fetch what the result lacks, the best first.
    pub sessions: Vec<SessionId>,
}

/// One file's description: fsutil's `Stat`.
pub type FileStat = cooper_proto::fsutil::Stat;
