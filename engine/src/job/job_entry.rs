use std::sync::Arc;

use cooper_core::model::{Failure, JobId, SessionId};
use cooper_core::policy::Rules;
use cooper_core::ports::{FrontendRequest, FrontendResult};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::imports::NamedImports;
use super::{CacheSpec, Entitlements};
use crate::bridge::HeldContainers;
use crate::progress::JobLog;

/// A build that is open.
#[derive(Debug)]
pub(crate) struct Job {
    /// Its name.
    pub(crate) id: JobId,
    /// Its progress.
    pub(crate) log: Arc<JobLog>,
    /// Sessions that answer for it.
    pub(crate) sessions: Vec<SessionId>,
    /// The caches that it imports.
    pub(crate) cache_imports: Vec<CacheSpec>,
    /// Those that frontends named beside these.
    pub(crate) named_imports: NamedImports,
    /// Rules about the sources that it uses.
    pub(crate) source_rules: Rules,
    /// The session that decides about them as well.
    pub(crate) policy_session: Option<SessionId>,
    /// What it may do.
    pub(crate) entitlements: Entitlements,
    /// Completes when it is to stop.
    pub(crate) cancel: CancellationToken,
    /// Set while the client drives the build over the frontends' service.
    pub(crate) gateway: Option<Arc<GatewayReturn>>,
}

/// What a frontend that asks over the frontends' service has of its own.
#[derive(Debug)]
pub(crate) struct GatewayReturn {
    /// The containers that it holds open.
    pub(crate) containers: HeldContainers,
    /// What the client may ask back for.
    pub(crate) request: FrontendRequest,
    result: Mutex<Option<oneshot::Sender<Result<FrontendResult, Failure>>>>,
}

impl GatewayReturn {
    /// The place and its other end.
    pub(crate) fn new(
        request: FrontendRequest,
    ) -> (Self, oneshot::Receiver<Result<FrontendResult, Failure>>) {
        let (sender, receiver) = oneshot::channel();
        let place = Self {
            containers: HeldContainers::default(),
            request,
            result: Mutex::new(Some(sender)),
        };
        (place, receiver)
    }

    /// Takes the result; `false` when there was one already or nobody waits for it.
    pub(crate) fn hand_over(&self, result: Result<FrontendResult, Failure>) -> bool {
        let sender = self.result.lock().take();
        sender.is_some_and(|sender| sender.send(result).is_ok())
    }
}
