use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use cooper_core::model::{JobId, SessionId};
use cooper_core::policy::Rules;
use cooper_core::ports::FrontendRequest;
use cooper_proto::pb;

/// A build that a client asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct SolveSpec {
    /// The name that the client gave it; no other build that runs has it.
    pub job: JobId,
    /// What to build.
    pub build: Build,
    /// Where the result goes; nowhere when empty, and then it is still computed.
    pub exporters: Vec<ExporterSpec>,
    /// Caches to look into as well.
    pub cache_imports: Vec<CacheSpec>,
    /// Caches to write in the end.
    pub cache_exports: Vec<CacheSpec>,
    /// Sessions that answer for files, secrets and credentials, the best first.
    pub sessions: Vec<SessionId>,
    /// What the build may do beyond the ordinary, such as `network.host`.
    pub entitlements: Vec<String>,
    /// Steps that may run at the same time, below the engine's own limit for a build.
    pub steps: Option<NonZeroUsize>,
    /// Rules about the sources that it uses.
    pub source_rules: Rules,
    /// The session that decides about them as well.
    pub policy_session: Option<SessionId>,
    /// Whether the build stays out of the history.
    pub internal: bool,
    /// Whether the client is asked for further exporters once there are results.
    pub session_exporter: bool,
}

/// What to build.
#[derive(Debug, Clone, PartialEq)]
pub enum Build {
    /// A graph that the client has made.
    Definition(pb::Definition),
    /// What a frontend makes of options.
    Frontend {
        /// The frontend.
        name: String,
        /// What it is told.
        request: FrontendRequest,
    },
    /// What the client says over the frontends' service while the build is open.
    Gateway {
        /// What the client may ask back for as its inputs.
        request: FrontendRequest,
    },
}

/// One place where the result goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExporterSpec {
    /// `image`, `oci`, `docker`, `local` or `tar`.
    pub kind: String,
    /// Parity sheet C2.
    pub attributes: BTreeMap<String, String>,
}

/// A cache that is kept elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct CacheSpec {
    /// `registry`, `inline` or `local`.
    pub kind: String,
    /// Parity sheet C3.
    pub attributes: BTreeMap<String, String>,
}

impl SolveSpec {
    /// A build of a name with nothing but what to build.
    pub fn new(job: JobId, build: Build) -> Self {
        Self {
            job,
            build,
            exporters: Vec::new(),
            cache_imports: Vec::new(),
            cache_exports: Vec::new(),
            sessions: Vec::new(),
            entitlements: Vec::new(),
            steps: None,
            source_rules: Rules::default(),
            policy_session: None,
            internal: false,
            session_exporter: false,
        }
    }
}

impl Build {
    /// The frontend's name, empty when there is none.
    pub(crate) fn frontend(&self) -> &str {
        match self {
            Self::Frontend { name, .. } => name,
            Self::Definition(_) | Self::Gateway { .. } => "",
        }
    }

    /// The frontend's options.
    pub(crate) fn options(&self) -> BTreeMap<String, String> {
        match self {
            Self::Frontend { request, .. } | Self::Gateway { request } => request.options.clone(),
            Self::Definition(_) => BTreeMap::new(),
        }
    }
}
