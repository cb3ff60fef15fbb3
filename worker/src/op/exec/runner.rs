use std::sync::Arc;

use cooper_core::model::{FailedOp, Failure, FailureKind, LogStream, OpEvent, ResultId};
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
use crate::cdi::Devices;
use crate::cgroup::Cgroups;
use crate::exec::{ExitStatus, Output, RunError, RunnerProgram};
use crate::mount::CacheMounts;
use crate::network::Networks;
use crate::snapshot::Snapshots;

/// Performs exec ops on this machine. Clones are the same.
#[derive(Clone)]
pub struct ExecOps {
    pub(super) parts: Arc<ExecParts>,
}

/// What exec ops are performed with.
pub struct ExecParts {
    /// The states that they read and write.
    pub snapshots: Snapshots,
    /// The directories of cache mounts.
    pub cache_mounts: CacheMounts,
    /// Where secrets and SSH agents are.
    pub sessions: Arc<dyn Sessions>,
    /// What containers are started with.
    pub program: RunnerProgram,
    /// Who keeps their limits.
    pub cgroups: Cgroups,
    /// How they are connected.
    pub networks: Networks,
    /// What devices they may be given.
    pub devices: Devices,
    /// Whether they may see the processes outside, where the kernel refuses them a `/proc` of their own.
    pub shares_processes: bool,
}

impl ExecOps {
    /// Exec ops with these parts.
    #[must_use]
    pub fn new(parts: ExecParts) -> Self {
        Self {
            parts: Arc::new(parts),
        }
    }

    /// Forgets what the cache mounts of an id hold. Blocks.
    ///
    /// # Errors
    /// Where their directories cannot be moved out of the way.
    pub fn forget_cache_mounts(&self, id: &str) -> Result<(), Failure> {
        let forgotten = self.parts.cache_mounts.forget(id);
        forgotten.map_err(|error| Failure::new(FailureKind::Infrastructure, error.to_string()))
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
        op: &pb::ExecOp,
        events: Events,
        cancelled: Shared<Cancelled>,
    ) -> Result<Vec<ResultId>, Stop> {
        let exec = Arc::new(ExecRequest::new(request, op)?);
        let parts = &self.parts;
        let sessions = parts.sessions.as_ref();
        let gathered = tokio::select! {
            gathered = Gathered::wait(&exec, &parts.cache_mounts, sessions, &request.sessions) => gathered?,
            () = cancelled.clone() => return Err(Stop::Cancelled),
        };
        let (machine, asked) = (Arc::clone(parts), exec.clone());
        let sandbox = blocking(move || Sandbox::new(&asked, &machine, gathered)).await?;
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
            ended = container.run(&parts.program, output, cancelled) => ended,
            () = ssh::serve(sockets) => unreachable!("sockets are served for as long as they are asked for"),
        };
        let judged = judge(&exec, ended);
        let inputs = mount_inputs(request, op);
        let snapshots = parts.snapshots.clone();
        blocking(move || match judged {
            Ok(()) => after.commit(&snapshots, &exec.description),
            Err(Stop::Failed(failure)) => {
                let states = after.keep(&snapshots, &exec.description);
                Err(Stop::Failed(with_states(failure, inputs, states)))
            }
            Err(stop) => {
                after.abandon();
                Err(stop)
            }
        })
        .await
    }
}

/// The state that each of an op's mounts begins with.
fn mount_inputs(request: &OpRequest, op: &pb::ExecOp) -> Vec<Option<ResultId>> {
    let input = |mount: &pb::Mount| {
        let index = usize::try_from(mount.input).ok()?;
        request.inputs.get(index).cloned()
    };
    op.mounts.iter().map(input).collect()
}

/// A failure with the states that its op was left in.
fn with_states(
    mut failure: Failure,
    inputs: Vec<Option<ResultId>>,
    states: Vec<(usize, ResultId)>,
) -> Failure {
    let mut mounts = inputs.clone();
    for (mount, state) in states {
        mounts[mount] = Some(state);
    }
    failure.op = Some(Arc::new(FailedOp {
        inputs,
        mounts,
        ..FailedOp::default()
    }));
    failure
}

pub(super) async fn blocking<T: Send + 'static>(
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
        Ok(ExitStatus::OutOfMemory(code)) if exec.is_valid_exit(code) => code,
        Ok(ExitStatus::OutOfMemory(code)) => {
            let message = format!("{}: cannot allocate memory", process());
            let failure = Failure::new(FailureKind::Exit { code }, message);
            return Err(Stop::Failed(failure.with_hint(
                "out of memory: the kernel killed a process of the step at its memory limit",
            )));
        }
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
