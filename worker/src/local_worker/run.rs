use std::sync::Arc;

use cooper_core::model::{Failure, FailureKind, OpEvent, ResultId, redacted};
use cooper_core::ports::{Cancelled, EventSink, Events, OpOutcome, OpRequest};
use cooper_proto::pb;
use cooper_proto::pb::op::Op as Kind;

use super::LocalWorker;
use crate::fileop::{self, Stop};
use crate::op::chains::{self, ChainError};
use crate::snapshot::Snapshots;

/// Where a source op's bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// A registry, the local store or an OCI layout.
    Image,
    /// A client's directory.
    Local,
    /// A file by URL.
    Http,
    /// A repository.
    Git,
    /// A blob of a registry or an OCI layout.
    Blob,
}

impl Scheme {
    /// # Errors
    /// `Unsupported` for a scheme that is not built, `InvalidInput` for what is no source.
    pub(super) fn of(op: &pb::Op) -> Result<Self, Failure> {
        let Some(Kind::Source(source)) = &op.op else {
            return Err(Failure::new(
                FailureKind::InvalidInput,
                "the op is not a source",
            ));
        };
        Self::named(&source.identifier)
    }

    /// # Errors
    /// `Unsupported` for a scheme that is not built, `InvalidInput` for one that there is not.
    pub(super) fn named(identifier: &str) -> Result<Self, Failure> {
        let scheme = identifier
            .split_once("://")
            .map_or("", |(scheme, _)| scheme);
        match scheme {
            "docker-image" | "oci-layout" => Ok(Self::Image),
            "local" => Ok(Self::Local),
            "http" | "https" => Ok(Self::Http),
            "git" => Ok(Self::Git),
            "docker-image+blob" | "oci-layout+blob" => Ok(Self::Blob),
            _ => Err(Failure::new(
                FailureKind::InvalidInput,
                format!("unknown source scheme in {:?}", redacted(identifier)),
            )),
        }
    }
}

/// What an op on chains of layers works with.
struct Chained<'a> {
    snapshots: &'a Snapshots,
    inputs: &'a [ResultId],
    name: &'a str,
    stop: &'a Stop,
}

impl LocalWorker {
    pub(super) async fn perform(
        &self,
        request: OpRequest,
        events: Events,
        cancelled: Cancelled,
    ) -> OpOutcome {
        let Some(kind) = &request.op.op else {
            return OpOutcome::Failed(Failure::new(
                FailureKind::InvalidInput,
                "the op does nothing",
            ));
        };
        match kind {
            Kind::Source(_) => self.source(&request, &events, cancelled).await,
            Kind::Exec(exec) => match self.ensure_inputs(&request, &events).await {
                Ok(()) => self.exec.run(&request, exec, events, cancelled).await,
                Err(failure) => failed(failure),
            },
            Kind::File(file) => match self.ensure_inputs(&request, &events).await {
                Ok(()) => self.file(&request, file.clone(), cancelled).await,
                Err(failure) => failed(failure),
            },
            Kind::Merge(op) => {
                let op = op.clone();
                let work = move |it: &Chained<'_>| {
                    chains::merge(it.snapshots, &op, it.inputs, it.name, it.stop)
                };
                self.chains(&request, &events, cancelled, work).await
            }
            Kind::Diff(op) => {
                let op = *op;
                let work = move |it: &Chained<'_>| {
                    chains::diff(it.snapshots, &op, it.inputs, it.name, it.stop)
                };
                self.chains(&request, &events, cancelled, work).await
            }
            Kind::Build(_) => failed(Failure::new(
                FailureKind::InvalidInput,
                "a build op is for the engine, which has workers run the graph that it names",
            )),
            Kind::Passthrough(op) => self.pass_through(&request, op),
        }
    }

    async fn source(
        &self,
        request: &OpRequest,
        events: &Events,
        cancelled: Cancelled,
    ) -> OpOutcome {
        let scheme = match Scheme::of(&request.op) {
            Ok(scheme) => scheme,
            Err(failure) => return OpOutcome::Failed(failure),
        };
        let made = match scheme {
            Scheme::Local => self.local_source.run(request, events, cancelled).await,
            Scheme::Git => tokio::select! {
                made = self.git_source.run(request, events) => made,
                () = cancelled => return OpOutcome::Cancelled,
            },
            Scheme::Http => tokio::select! {
                made = self.http_source.run(request, events) => made,
                () = cancelled => return OpOutcome::Cancelled,
            },
            Scheme::Blob => tokio::select! {
                made = self.blob_source.run(request, events) => made,
                () = cancelled => return OpOutcome::Cancelled,
            },
            Scheme::Image => tokio::select! {
                made = self.image_source.run(request, events) => made,
                () = cancelled => return OpOutcome::Cancelled,
            },
        };
        made.map_or_else(failed, OpOutcome::Success)
    }

    /// Fetches and unpacks what the inputs lack.
    async fn ensure_inputs(&self, request: &OpRequest, events: &Events) -> Result<(), Failure> {
        for input in request.inputs.iter().filter(|input| !input.is_scratch()) {
            self.image_source
                .ensure(input, &request.sessions, events)
                .await?;
        }
        Ok(())
    }

    async fn file(&self, request: &OpRequest, op: pb::FileOp, cancelled: Cancelled) -> OpOutcome {
        let (snapshots, limits) = (self.snapshots.clone(), self.limits.clone());
        let (inputs, name) = (request.inputs.clone(), request.name.clone());
        let work = move |stop: &Stop| {
            fileop::run(&snapshots, &limits, &op, &inputs, &name, stop)
                .map_err(|failure| failure.told(&inputs, &snapshots))
        };
        self.stoppable(work, cancelled).await
    }

    /// An op on chains of layers.
    async fn chains(
        &self,
        request: &OpRequest,
        events: &Events,
        cancelled: Cancelled,
        work: impl FnOnce(&Chained<'_>) -> Result<ResultId, ChainError> + Send + 'static,
    ) -> OpOutcome {
        if let Err(failure) = self.ensure_inputs(request, events).await {
            return failed(failure);
        }
        let snapshots = self.snapshots.clone();
        let (inputs, name) = (request.inputs.clone(), request.name.clone());
        let work = move |stop: &Stop| {
            let made = work(&Chained {
                snapshots: &snapshots,
                inputs: &inputs,
                name: &name,
                stop,
            });
            made.map(|result| vec![result]).map_err(Failure::from)
        };
        self.stoppable(work, cancelled).await
    }

    /// Runs what blocks and looks at its [`Stop`] now and then; waits for its end in any case.
    async fn stoppable(
        &self,
        work: impl FnOnce(&Stop) -> Result<Vec<ResultId>, Failure> + Send + 'static,
        cancelled: Cancelled,
    ) -> OpOutcome {
        let stop = Stop::default();
        let asked = stop.clone();
        let work = tokio::task::spawn_blocking(move || work(&asked));
        tokio::pin!(work);
        let finished = tokio::select! {
            finished = &mut work => finished,
            () = cancelled => {
                stop.ask();
                // What it made in time is nobody's.
                let made = match work.await {
                    Ok(Ok(results)) => results,
                    Ok(Err(failure)) => failure.op.map(|op| op.made()).unwrap_or_default(),
                    Err(_) => Vec::new(),
                };
                let pins = self.snapshots.meta().pins();
                made.iter().for_each(|result| pins.unpin(result));
                return OpOutcome::Cancelled;
            }
        };
        match finished {
            Ok(made) => made.map_or_else(failed, OpOutcome::Success),
            Err(error) => OpOutcome::Fault(Failure::new(FailureKind::Internal, error.to_string())),
        }
    }

    fn pass_through(&self, request: &OpRequest, op: &pb::PassthroughOp) -> OpOutcome {
        let mut outputs = Vec::new();
        for output in &op.outputs {
            let input = usize::try_from(*output)
                .ok()
                .and_then(|index| request.inputs.get(index));
            let Some(input) = input else {
                outputs
                    .iter()
                    .for_each(|output| self.snapshots.meta().pins().unpin(output));
                return failed(Failure::new(
                    FailureKind::InvalidInput,
                    format!("there is no input {output}"),
                ));
            };
            self.snapshots.meta().pins().pin(input);
            outputs.push(input.clone());
        }
        OpOutcome::Success(outputs)
    }
}

/// Who is to blame decides whether the op may be tried again.
pub(super) fn failed(failure: Failure) -> OpOutcome {
    match failure.kind {
        FailureKind::Cancelled => OpOutcome::Cancelled,
        FailureKind::Infrastructure | FailureKind::Internal => OpOutcome::Fault(failure),
        FailureKind::InvalidInput
        | FailureKind::Exit { .. }
        | FailureKind::NotFound
        | FailureKind::MissingPath
        | FailureKind::Denied
        | FailureKind::Unsupported => OpOutcome::Failed(failure),
    }
}

/// Runs what blocks where that is allowed.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Failure::new(FailureKind::Internal, error.to_string())),
    }
}

/// For work that nobody follows.
pub(super) fn unheard() -> Events {
    Arc::new(Unheard)
}

struct Unheard;

impl EventSink for Unheard {
    fn emit(&self, _event: OpEvent) {}
}
