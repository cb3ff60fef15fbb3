use std::path::PathBuf;

use cooper_core::model::Failure;
use cooper_core::ports::ExportResponse;
use cooper_engine::progress::StatusStream;
use cooper_proto::pb;
use cooper_proto::source_policy::Policy;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::attach::SessionParts;
use crate::command::build::{Output, Plan};

/// What is solved.
#[derive(Clone, Debug)]
pub enum Subject {
    /// What the frontend of this name makes of the plan's options.
    Frontend(String),
    /// A graph.
    Definition(pb::Definition),
}

impl Subject {
    /// A Dockerfile.
    #[must_use]
    pub fn dockerfile() -> Self {
        Self::Frontend("dockerfile.v0".to_owned())
    }
}

/// A build to start.
#[derive(Debug)]
pub struct BuildRequest {
    /// Name of the build, no other's.
    pub reference: String,
    /// What is solved.
    pub subject: Subject,
    /// Rules about sources.
    pub source_policy: Option<Policy>,
    /// Whether processes reach the network only through a recording proxy.
    pub proxy_network: bool,
    /// What to build.
    pub plan: Plan,
    /// Variables of the environment, for secrets.
    pub variables: std::collections::BTreeMap<String, String>,
    /// The docker program, for results that go to the local Docker daemon.
    pub docker: Option<PathBuf>,
}

/// A build under way.
pub struct Started {
    /// Its news, up to its end.
    pub progress: StatusStream,
    /// Its end, after all cleanup.
    pub outcome: BoxFuture<'static, Result<ExportResponse, Failure>>,
    /// Asks it to stop when it is cancelled.
    pub cancel: CancellationToken,
}

impl BuildRequest {
    /// A name for a build that no other has.
    #[must_use]
    pub fn new_reference() -> String {
        let bytes: [u8; 16] = rand::random();
        hex::encode(bytes)
    }

    /// What the session offers to the build.
    pub(super) fn session_parts(&mut self) -> SessionParts {
        let targets = |outputs: &[Output]| outputs.iter().map(|o| o.target.clone()).collect();
        let mirrors = |outputs: &[Output]| outputs.iter().map(Output::mirrors).collect();
        SessionParts {
            folders: std::mem::take(&mut self.plan.folders),
            layouts: std::mem::take(&mut self.plan.layouts),
            caches: std::mem::take(&mut self.plan.caches.folders),
            secrets: std::mem::take(&mut self.plan.secrets),
            ssh: std::mem::take(&mut self.plan.ssh),
            variables: std::mem::take(&mut self.variables),
            targets: targets(&self.plan.outputs),
            mirrors: mirrors(&self.plan.outputs),
            docker: self.docker.take(),
        }
    }
}
