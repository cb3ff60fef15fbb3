use std::path::PathBuf;

use cooper_core::model::Failure;
use cooper_core::ports::ExportResponse;
use cooper_engine::progress::StatusStream;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::attach::SessionParts;
use crate::command::build::{Output, Plan};

/// Frontend that Dockerfiles are built with.
pub(super) const FRONTEND: &str = "dockerfile.v0";

/// A build to start.
#[derive(Debug)]
pub struct BuildRequest {
    /// Name of the build, no other's.
    pub reference: String,
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
        SessionParts {
            folders: std::mem::take(&mut self.plan.folders),
            layouts: std::mem::take(&mut self.plan.layouts),
            caches: std::mem::take(&mut self.plan.caches.folders),
            secrets: std::mem::take(&mut self.plan.secrets),
            ssh: std::mem::take(&mut self.plan.ssh),
            variables: std::mem::take(&mut self.variables),
            targets: targets(&self.plan.outputs),
            docker: self.docker.take(),
        }
    }
}
