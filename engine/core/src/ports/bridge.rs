use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_proto::{Digest, pb};

use super::files::FileStat;
use super::frontend::{FrontendRequest, FrontendResult};
use super::source::{SourceMeta, SourceQuery};
use crate::model::{Failure, FailureKind, Warning, redacted};

/// What a frontend may ask the engine for while it converts (parity sheet E).
#[async_trait]
pub trait Bridge: Send + Sync {
    /// Adds a definition to the build and names its result. Nothing runs until the result is evaluated, read or
    /// exported.
    async fn solve(&self, definition: pb::Definition) -> Result<RefId, Failure>;

    /// Runs what a result needs.
    async fn evaluate(&self, result: &RefId) -> Result<(), Failure>;

    /// Reads a file of a result, running what it needs first.
    ///
    /// # Errors
    /// `NotFound` when there is no such file.
    async fn read_file(
        &self,
        result: &RefId,
        path: &str,
        range: Option<Range<u64>>,
    ) -> Result<Bytes, Failure>;

    /// Describes one path of a result, running what it needs first.
    async fn stat_file(&self, result: &RefId, path: &str) -> Result<FileStat, Failure>;

    /// Finds an image's digest and configuration for a platform, fetching no layer.
    async fn resolve_image(&self, query: ImageQuery) -> Result<ImageAnswer, Failure>;

    /// Finds out what a file by URL or a repository's reference is now; the build sees it in that state from then on.
    async fn resolve_source(&self, query: SourceQuery) -> Result<SourceMeta, Failure>;

    /// Has another frontend convert a request in the same build.
    ///
    /// # Errors
    /// The other frontend's; `Unsupported`, as here, where there is none but the one that asks.
    async fn ask(
        self: std::sync::Arc<Self>,
        frontend: &str,
        request: FrontendRequest,
    ) -> Result<FrontendResult, Failure> {
        drop(request);
        Err(Failure::unsupported(format!("the frontend {frontend}")))
    }

    /// Tells the client something that does not stop the build.
    async fn warn(&self, warning: Warning);

    /// Platforms that the workers run, the default first.
    fn platforms(&self) -> Vec<pb::Platform>;
}

/// A result within one build, as frontends know it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefId(pub String);

/// An image whose configuration is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageQuery {
    /// Normalised reference, such as `docker.io/library/busybox:latest`.
    pub reference: String,
    /// Platform to choose from an index; the worker's own when `None`.
    pub platform: Option<pb::Platform>,
    /// Where to look.
    pub mode: ResolveMode,
    /// Vertex name under which the look-up is shown, such as `[internal] load metadata for …`.
    pub log_name: String,
    /// Set for an OCI layout that the client offers: the name of its store in the session.
    pub oci_layout_store: Option<String>,
}

/// Where an image is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResolveMode {
    /// Images of the local store first, then the registry.
    #[default]
    Default,
    /// The registry, even when a local image has the name.
    ForcePull,
    /// The local store first, the registry only when it has no such image.
    PreferLocal,
}

/// What is known of an image that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageAnswer {
    /// The image.
    Image(ResolvedImage),
    /// A rule about sources put another source in its place, which is no image.
    Replaced {
        /// The reference that was asked for.
        reference: String,
        /// The other source's identifier, such as `local://name`.
        by: String,
    },
}

impl ImageAnswer {
    /// The image, for who can do nothing with another source.
    ///
    /// # Errors
    /// `Unsupported` where there is another source.
    pub fn into_image(self) -> Result<ResolvedImage, Failure> {
        match self {
            Self::Image(image) => Ok(image),
            // BuildKit's words.
            Self::Replaced { reference, by } => Err(Failure::new(
                FailureKind::Unsupported,
                format!(
                    "ref mutated by policy to non-image: {reference} -> {}",
                    redacted(&by)
                ),
            )),
        }
    }
}

/// What an image reference resolved to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedImage {
    /// The reference that should be used from now on (a source policy may have changed it).
    pub reference: String,
    /// Digest of the manifest or index that the reference named.
    pub digest: Digest,
    /// The image configuration's JSON, byte for byte.
    pub config: Bytes,
}
