use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use cooper_proto::{Digest, pb};

use super::{Cancelled, Events};
use crate::model::{
    ContentSelector, DeviceInfo, Failure, JobId, LinuxResources, Material, Pin, ResultId, SessionId,
};

/// A place that performs ops: this machine, or another one behind a codec.
///
/// # Model
/// An op takes results and makes results. A result is a file-system state that the worker keeps; it is *pinned* (kept
/// from removal) from the moment that a method returns it until [`Worker::release`] has been called as many times as
/// it was returned or retained. Results that a cache record names outlive their pins until garbage collection.
///
/// # Story
/// `source_key` for each source that the build reaches; the scheduler looks the key up and finds nothing; `run` makes
/// the result; a dependent's key wants content, so `content_key`; `run` of the dependent; `release` of both when the
/// build is over.
#[async_trait]
pub trait Worker: Send + Sync {
    /// Who this worker is and which platforms it can run.
    fn info(&self) -> WorkerInfo;

    /// Resolves a source op far enough to know its cache key, without fetching its bytes where that is possible.
    ///
    /// # Errors
    /// `NotFound` when the source does not exist, `Infrastructure` when asking failed, `Unsupported` for a scheme
    /// that is not built.
    async fn source_key(
        &self,
        request: SourceKeyRequest,
        events: Events,
    ) -> Result<SourceKey, Failure>;

    /// Digests the contents of paths in a result; equal contents give equal digests on every worker (parity sheet B3,
    /// content hash).
    ///
    /// # Errors
    /// `NotFound` when a plain path does not exist.
    async fn content_key(
        &self,
        request: ContentKeyRequest,
        events: Events,
    ) -> Result<Digest, Failure>;

    /// The paths that a content key was made of with their digests, for people who ask what changed; at most `limit`,
    /// and none where there are more or a worker cannot tell.
    async fn contents(&self, request: &ContentKeyRequest, limit: usize) -> Vec<(String, Digest)> {
        let _ = (request, limit);
        Vec::new()
    }

    /// What a source is in terms that mean something elsewhere, given what its key resolved to; `None`, as here, where
    /// a worker cannot tell. Touches nothing.
    fn material(&self, op: &pb::Op, pin: &Pin) -> Option<Material> {
        let _ = (op, pin);
        None
    }

    /// Performs one op and keeps its outputs.
    ///
    /// # Cancel
    /// When `cancelled` completes first, everything that the op started is gone, nothing is left mounted and the
    /// outcome is [`OpOutcome::Cancelled`].
    async fn run(&self, request: OpRequest, events: Events, cancelled: Cancelled) -> OpOutcome;

    /// Forgets what the cache mounts (`RUN --mount=type=cache`) of these ids hold; those that use them now keep them. A
    /// worker without cache mounts has nothing to do, as here.
    async fn forget_cache_mounts(&self, ids: Vec<String>) -> Result<(), Failure> {
        let _ = ids;
        Ok(())
    }

    /// Adds a pin to a result that is still kept; `false` when the worker no longer has it whole, so that records of it
    /// lead nowhere.
    ///
    /// # Errors
    /// When it cannot be known now; the result may be there.
    async fn retain(&self, result: &ResultId) -> Result<bool, Failure>;

    /// Takes one pin from each result. Unknown results are ignored.
    async fn release(&self, results: Vec<ResultId>);

    /// A build is over: what the worker remembered so that it sees each source in one state only may go.
    async fn end_build(&self, build: &JobId) {
        let _ = build;
    }
}

/// What a client may know of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkerInfo {
    /// Stable name, kept in the state folder.
    pub id: String,
    /// Labels as `ListWorkers` shows them.
    pub labels: BTreeMap<String, String>,
    /// Platforms the worker runs, its own first.
    pub platforms: Vec<pb::Platform>,
    /// Devices that it can hand into steps, sorted by name.
    pub devices: Vec<DeviceInfo>,
}

/// A source whose key is wanted.
#[derive(Debug, Clone)]
pub struct SourceKeyRequest {
    /// The vertex.
    pub vertex: Digest,
    /// Its op; the kind is `Source`.
    pub op: Arc<pb::Op>,
    /// Which of the source's keys: 0 first, then 1 and so on while [`SourceKey::more`].
    pub index: u32,
    /// What index 0 resolved to, when `index` is above 0.
    pub pin: Option<Pin>,
    /// The build that asked first: what it saw of a source before, it sees again.
    pub build: Option<JobId>,
    /// Sessions that may answer for local directories and credentials, the best first.
    pub sessions: Vec<SessionId>,
}

/// A source's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceKey {
    /// The text that the cache digest is made of (parity sheet B3, `buildkit.source.v0`). A text that starts with
    /// `session:` never matches another build.
    pub key: String,
    /// To be given back to `run`.
    pub pin: Pin,
    /// Whether a further key can be asked for.
    pub more: bool,
}

/// Paths of a result whose contents are to be digested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentKeyRequest {
    /// The result.
    pub result: ResultId,
    /// What to digest, in order.
    pub selectors: Vec<ContentSelector>,
    /// Sessions whose credentials may fetch what the result lacks, the best first.
    pub sessions: Vec<SessionId>,
}

/// One op to perform.
#[derive(Debug, Clone)]
pub struct OpRequest {
    /// The vertex.
    pub vertex: Digest,
    /// Its op.
    pub op: Arc<pb::Op>,
    /// Name to put into descriptions of what is kept.
    pub name: String,
    /// Results of the op's inputs, in the op's order. Pinned by the caller until the outcome.
    pub inputs: Vec<ResultId>,
    /// What the source resolved to.
    pub pin: Option<Pin>,
    /// The build that asked first.
    pub build: Option<JobId>,
    /// Sessions that may answer for local directories, secrets and credentials, the best first.
    pub sessions: Vec<SessionId>,
    /// Limits on the machine's resources.
    pub resources: Option<LinuxResources>,
}

/// How an op ended. A failing command is a result to report, not an error of the worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpOutcome {
    /// The outputs, in the op's order, each pinned once.
    Success(Vec<ResultId>),
    /// The op did what it was told and that did not work.
    Failed(Failure),
    /// It was stopped and has cleaned up.
    Cancelled,
    /// The worker could not do its part; the op may be tried again.
    Fault(Failure),
}
