use std::sync::Arc;

use cooper_core::model::{FailureKind, LogStream, OpEvent, ResultId};
use cooper_core::ports::{Cancelled, Events, OpOutcome, OpRequest, Sessions};
use cooper_proto::pb;
use futures::FutureExt;
use futures::future::Shared;

use super::gathered::Gathered;
use super::quote::quote;
use super::request::ExecRequest;
use super::sandbox::Sandbox;
use super::ssh;
use super::stop::Stop;
use crate::exec::{ExitStatus, Output, RunError, RunnerProgram};
use crate::mount::CacheMounts;
use crate::snapshot::Snapshots;

/// Performs exec ops on this machine.
#[derive(Clone)]
pub struct ExecOps {
    snapshots: Snapshots,
    cache_mounts: CacheMounts,
    sessions: Arc<dyn Sessions>,
    program: Arc<RunnerProgram>,
}

impl ExecOps {
    /// Exec ops on these states, with these caches, secrets from these sessions and containers started from `program`.
    #[must_use]
    pub fn new(
        snapshots: Snapshots,
        cache_mounts: CacheMounts,
        sessions: Arc<dyn Sessions>,
        program: RunnerProgram,
    ) -> Self {
        Self {
            snapshots,
            cache_mounts,
            sessions,
            program: Arc::new(program),
        }
    }

    /// Performs one exec op; the contract is [`Worker::run`](cooper_core::ports::Worker::run)'s.
    ///
    /// # Cancel
    /// When `cancelled` completes, the container's processes are killed, and the outcome comes when they are gone, nothing of
    /// theirs is mounted and what they wrote is thrown away.
    pub async fn run(
        &self,
        request: &OpRequest,
        exec: &pb::ExecOp,
        events: Events,
        cancelled: Cancelled,
    ) -> OpOutcome {
        match self
            .perform(request, exec, events, cancelled.shared())
            .await
        {
            Ok(results) => OpOutcome::Success(results),
            Err(stop) => stop.into(),
        }
    }

    async fn perform(
        &self,
        request: &OpRequest,
        exec: &pb::ExecOp,
        events: Events,
        cancelled: Shared<Cancelled>,
    ) -> Result<Vec<ResultId>, Stop> {
        let exec = Arc::new(ExecRequest::new(request, exec)?);
        let sessions = self.sessions.as_ref();
        let gathered = tokio::select! {
            gathered = Gathered::wait(&exec, &self.cache_mounts, sessions, &request.sessions) => gathered?,
            () = cancelled.clone() => return Err(Stop::Cancelled),
        };
        let (snapshots, asked) = (self.snapshots.clone(), exec.clone());
        let sandbox = blocking(move || Sandbox::new(&asked, &snapshots, gathered)).await?;
        let Sandbox {
            container,
            sockets,
            after,
        } = sandbox;
        let output = |stream, data| {
            let stream = match stream {
                Output::Stdout => LogStream::Stdout,
                Output::Stderr => LogStream::Stderr,
            };
            events.emit(OpEvent::Log { stream, data });
        };
        let ended = tokio::select! {
            ended = container.run(&self.program, output, cancelled) => ended,
            () = ssh::serve(sockets) => unreachable!("sockets are served for as long as they are asked for"),
        };
        let judged = judge(&exec, ended);
        let snapshots = self.snapshots.clone();
        blocking(move || match judged {
            Ok(()) => after.commit(&snapshots, &exec.description),
            Err(stop) => {
                after.abandon();
                Err(stop)
            }
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Stop> + Send + 'static,
) -> Result<T, Stop> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Stop::fault(error)),
    }
}

/// Whether a container's end is what its op allows.
fn judge(exec: &ExecRequest, ended: Result<ExitStatus, RunError>) -> Result<(), Stop> {
    let process = || {
        format!(
            "process {} did not complete successfully",
            quote(&exec.args.join(" "))
        )
    };
    let code = match ended {
        Ok(ExitStatus::Cancelled) => return Err(Stop::Cancelled),
        Ok(ExitStatus::Exited(code)) => code,
        // As a shell says it.
        Ok(ExitStatus::Signaled(signal)) => 128 + signal,
        Err(error @ RunError::Request { .. }) => {
            return Err(Stop::invalid(format!("{}: {error}", process())));
        }
        Err(error) => return Err(error.into()),
    };
    if exec.is_valid_exit(code) {
        return Ok(());
    }
    Err(Stop::failed(
        FailureKind::Exit { code },
        format!("{}: exit code: {code}", process()),
    ))
}
