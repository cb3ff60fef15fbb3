use bytes::Bytes;
use cooper_proto::{Digest, pb};

use crate::model::JobId;

/// A source of which only its metadata is wanted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SourceQuery {
    /// The source, as it would stand in a definition.
    pub source: pb::SourceOp,
    /// Platform to choose where the source has several.
    pub platform: Option<pb::Platform>,
    /// The build that asks: it sees one source in one state only, however often it asks.
    pub build: Option<JobId>,
    /// Vertex name under which the look-up is shown; made of the identifier when empty.
    pub log_name: String,
    /// A further digest of a file by URL.
    pub checksum: Option<ChecksumRequest>,
    /// Whether the commit and tag objects of a repository are wanted too.
    pub git_objects: bool,
}

/// A digest over a file's bytes and a suffix, as detached signatures need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChecksumAlgorithm {
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// Which digest is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChecksumRequest {
    /// The algorithm.
    pub algorithm: ChecksumAlgorithm,
    /// Bytes that follow the file's.
    pub suffix: Bytes,
}

/// What is known of a source without its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceMeta {
    /// Of a file by URL.
    Http(HttpMeta),
    /// Of a repository.
    Git(GitMeta),
}

/// A file by URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpMeta {
    /// Digest of its bytes.
    pub digest: Digest,
    /// The name that it gets.
    pub filename: String,
    /// When the server says that it changed.
    ///
    /// # Units
    /// Seconds since 1970.
    pub last_modified: Option<i64>,
    /// The answer to [`SourceQuery::checksum`]: `algorithm:hex`.
    pub checksum: Option<String>,
}

/// A reference of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GitMeta {
    /// What the reference names: a commit, or the object of an annotated tag.
    pub checksum: String,
    /// The reference in full, such as `refs/heads/main`; the commit itself for a commit.
    pub reference: String,
    /// The commit of an annotated tag, else empty.
    pub commit_checksum: String,
    /// The commit's bytes as git keeps them, when asked for.
    pub commit_object: Bytes,
    /// The annotated tag's bytes, when asked for and there is one.
    pub tag_object: Bytes,
}
