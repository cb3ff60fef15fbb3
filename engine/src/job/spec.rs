use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use cooper_core::model::{JobId, SessionId};
use cooper_core::policy::Rules;
use cooper_core::ports::FrontendRequest;
use cooper_proto::pb;

use crate::attest::Request;

/// The frontend that is an image.
pub(super) const FRONTEND_IMAGE: &str = "gateway.v0";

/// A build that a client asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct SolveSpec {
    /// The name that the client gave it; no other build that runs has it.
    pub job: JobId,
    /// What to build.
    pub build: Build,
    /// What the client said beside a graph that it made itself, such as `attest:provenance`.
    pub graph_options: BTreeMap<String, String>,
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
            graph_options: BTreeMap::new(),
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

impl SolveSpec {
    /// The options that the client gave, to a frontend or beside a graph.
    pub(crate) fn options(&self) -> BTreeMap<String, String> {
        match &self.build {
            Build::Frontend { request, .. } | Build::Gateway { request } => request.options.clone(),
            Build::Definition(_) => self.graph_options.clone(),
        }
    }

    /// The same as provenance tells it.
    pub(crate) fn asked(&self) -> Request {
        match &self.build {
            Build::Frontend { name, request } => Request::new(name, request),
            Build::Gateway { request } => Request::new("", request),
            Build::Definition(_) => Request {
                options: self.graph_options.clone(),
                ..Request::default()
            },
        }
    }
}

impl Build {
    /// The same, asked of a frontend of this engine where the name of one is given as a frontend's image: BuildKit's
    /// clients name `dockerfile.v0` so. A named context of that name is meant to be the image.
    pub(crate) fn by_own_frontend(mut self, is_own: impl Fn(&str) -> bool) -> Self {
        let Self::Frontend { name, request } = &mut self else {
            return self;
        };
        let source = request.options.get("source").filter(|it| is_own(it));
        if let (FRONTEND_IMAGE, Some(own)) = (name.as_str(), source.cloned()) {
            let context = format!("context:{own}");
            let platform = format!("{context}::");
            let mut keys = request.options.keys();
            if !keys.any(|key| *key == context || key.starts_with(&platform)) {
                request.options.remove("source");
                *name = own;
            }
        }
        self
    }

    /// The frontend's name, empty when there is none.
    pub(crate) fn frontend(&self) -> &str {
        match self {
            Self::Frontend { name, .. } => name,
            Self::Definition(_) | Self::Gateway { .. } => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_frontend_named_as_an_image_is_asked_itself_unless_a_context_stands_for_it() {
        let asked = |options: &[(&str, &str)]| {
            let options = options
                .iter()
                .map(|(key, value)| ((*key).into(), (*value).into()));
            let build = Build::Frontend {
                name: FRONTEND_IMAGE.into(),
                request: FrontendRequest {
                    options: options.collect(),
                    ..FrontendRequest::default()
                },
            };
            let build = build.by_own_frontend(|name| name == "dockerfile.v0");
            let Build::Frontend { request, .. } = &build else {
                panic!("{build:?}");
            };
            (build.frontend().to_owned(), request.options.clone())
        };
        let own = asked(&[("source", "dockerfile.v0"), ("cmdline", "dockerfile.v0")]);
        let left = BTreeMap::from([("cmdline".to_owned(), "dockerfile.v0".to_owned())]);
        assert_eq!(own, ("dockerfile.v0".to_owned(), left));
        for other in [
            &[("source", "docker/dockerfile")][..],
            &[
                ("source", "dockerfile.v0"),
                ("context:dockerfile.v0", "docker-image://a"),
            ],
            &[
                ("source", "dockerfile.v0"),
                ("context:dockerfile.v0::linux/amd64", "input:a"),
            ],
        ] {
            assert_eq!(asked(other).0, FRONTEND_IMAGE, "{other:?}");
        }
    }
}
