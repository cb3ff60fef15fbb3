use std::sync::Arc;

use cooper_core::graph::Vertex;
use cooper_core::model::{
    CacheKeyId, FailedOp, FailedPart, Failure, FailureKind, JobId, Pin, ResultId, SessionId,
};
use cooper_core::ports::{
    CacheStore, CachedResult, ContentKeyRequest, Events, KeyQuery, LookupAnswer, OpOutcome,
    OpRequest, SourceKeyRequest, Worker,
};
use cooper_core::scheduler::{Work, WorkDone, scoped_op};
use cooper_proto::Digest;
use cooper_proto::pb::op::Op as Kind;
use prost::Message;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::attempts::attempt;
use super::imports::merge;
use super::nested::{self, Asker, Wanting};
use super::{Imports, Permits};
use crate::progress::JobLog;

/// Paths that a step reads are kept for explanations up to this number.
const NAMED_PATHS: usize = 5000;

/// The world as pieces of work see it.
#[derive(Clone)]
pub(super) struct World {
    pub(super) worker: Arc<dyn Worker>,
    pub(super) cache: Arc<dyn CacheStore>,
    /// How many steps the worker runs at a time.
    pub(super) steps: Permits,
}

/// What a piece of work may use.
pub(super) struct Tools {
    /// The build that asked first.
    pub(super) build: Option<JobId>,
    pub(super) sessions: Vec<SessionId>,
    pub(super) events: Events,
    /// The logs of the builds that want it.
    pub(super) readers: Vec<Arc<JobLog>>,
    pub(super) cancel: CancellationToken,
    /// The imported caches of the scope that the work is of.
    pub(super) imports: Option<Imports>,
    /// How many steps the build that asked first runs at a time.
    pub(super) steps: Permits,
    /// Of the run of a build op: its name, and the builds that want it.
    pub(super) nested: Option<(Asker, watch::Receiver<Wanting>)>,
}

/// Which variant of [`WorkDone`] answers a piece of work.
#[derive(Debug, Clone, Copy)]
pub(super) enum WorkKind {
    SourceKey,
    Lookup,
    Results,
    Load,
    ContentKey,
    Run,
    Save,
    Forget,
}

impl From<&Work> for WorkKind {
    fn from(work: &Work) -> Self {
        match work {
            Work::SourceKey { .. } => Self::SourceKey,
            Work::Lookup { .. } => Self::Lookup,
            Work::Results { .. } => Self::Results,
            Work::Load { .. } => Self::Load,
            Work::ContentKey { .. } => Self::ContentKey,
            Work::Run { .. } => Self::Run,
            Work::Save { .. } => Self::Save,
            Work::Forget { .. } => Self::Forget,
        }
    }
}

impl WorkKind {
    /// What panics and logs call the work.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::SourceKey => "resolving a source",
            Self::Lookup | Self::Results => "asking the cache",
            Self::Load => "loading a cached result",
            Self::ContentKey => "digesting contents",
            Self::Run => "running a step",
            Self::Save => "saving to the cache",
            Self::Forget => "forgetting a cached result",
        }
    }

    /// The answer to work that could not be done.
    pub(super) fn failed(self, failure: Failure) -> WorkDone {
        match self {
            Self::SourceKey => WorkDone::SourceKey(Err(failure)),
            Self::Lookup => WorkDone::Lookup(Err(failure)),
            Self::Results => WorkDone::Results(Err(failure)),
            Self::Load => WorkDone::Load(Err(failure)),
            Self::ContentKey => WorkDone::ContentKey(Err(failure)),
            Self::Run => WorkDone::Run(OpOutcome::Failed(failure)),
            Self::Save => WorkDone::Save(Err(failure)),
            Self::Forget => WorkDone::Forget,
        }
    }
}

/// Does one piece of work to its end.
///
/// # Cancel
/// By `tools.cancel`; what was begun is cleaned up before this returns.
pub(super) async fn perform(world: World, work: Work, tools: Tools) -> WorkDone {
    match work {
        Work::SourceKey { vertex, index, pin } => {
            WorkDone::SourceKey(source_key(&world, &vertex, index, pin, tools).await)
        }
        Work::Lookup { query, scope } => {
            let imports = tools.imports.as_ref();
            WorkDone::Lookup(lookup(&world, &query, scope.as_ref(), imports).await)
        }
        Work::Results { keys, imported, .. } => {
            let imports = tools.imports.as_ref();
            WorkDone::Results(world.results(&keys, &imported, imports).await)
        }
        Work::Load { result } => WorkDone::Load(world.worker.retain(&result).await),
        Work::ContentKey {
            vertex,
            input,
            result,
            selectors,
        } => {
            let request = ContentKeyRequest {
                result,
                selectors,
                sessions: tools.sessions,
            };
            let asked = world.worker.content_key(request.clone(), tools.events);
            let key = unless_cancelled(&tools.cancel, asked).await;
            let key = key.map_err(|failure| of_content(failure, &vertex, input, &request.result));
            if key.is_ok() {
                let paths = world.worker.contents(&request, NAMED_PATHS).await;
                if !paths.is_empty() {
                    tools
                        .readers
                        .iter()
                        .for_each(|log| log.read(&vertex.digest, input, paths.clone()));
                }
            }
            WorkDone::ContentKey(key)
        }
        Work::Run {
            vertex,
            inputs,
            pin,
        } => WorkDone::Run(run(&world, &vertex, inputs, pin, tools).await),
        Work::Save { records } => WorkDone::Save(save(&world, records).await),
        Work::Forget { result } => {
            if let Err(failure) = world.cache.forget(&result).await {
                tracing::warn!(%result, %failure, "a result that is gone could not be forgotten");
            }
            WorkDone::Forget
        }
    }
}

async fn source_key(
    world: &World,
    vertex: &Vertex,
    index: u32,
    pin: Option<Pin>,
    tools: Tools,
) -> Result<cooper_core::ports::SourceKey, Failure> {
    let request = SourceKeyRequest {
        vertex: vertex.digest.clone(),
        op: Arc::clone(&vertex.op),
        index,
        pin,
        build: tools.build,
        sessions: tools.sessions,
    };
    let asked = world.worker.source_key(request, tools.events);
    unless_cancelled(&tools.cancel, asked)
        .await
        .map_err(|failure| blame(failure, vertex))
}

/// Asks our own cache, what was kept for the scope, and the imported caches.
async fn lookup(
    world: &World,
    query: &KeyQuery,
    scope: Option<&Digest>,
    imports: Option<&Imports>,
) -> Result<LookupAnswer, Failure> {
    let mut answer = world.cache.lookup(query).await?;
    if let Some(scope) = scope {
        let scoped = KeyQuery {
            op: scoped_op(scope, &query.op),
            ..query.clone()
        };
        merge(&mut answer, world.cache.lookup(&scoped).await?);
    }
    if let Some(imports) = imports {
        imports.lookup(query, &mut answer).await;
    }
    Ok(answer)
}

impl World {
    /// The results under keys: our own, then those kept for the scope, then those of the imported caches.
    pub(super) async fn results(
        &self,
        keys: &[CacheKeyId],
        imported: &[CacheKeyId],
        imports: Option<&Imports>,
    ) -> Result<Vec<CachedResult>, Failure> {
        let mut all = Vec::new();
        for key in keys {
            all.extend(self.cache.results(key).await?);
        }
        for key in imported {
            let kept = self.cache.results(key).await?.into_iter();
            all.extend(kept.map(|kept| CachedResult {
                imported: true,
                ..kept
            }));
        }
        if let Some(imports) = imports {
            all.extend(imports.results(self.worker.as_ref(), imported).await?);
        }
        Ok(all)
    }
}

async fn save(
    world: &World,
    records: Vec<(KeyQuery, Option<ResultId>)>,
) -> Result<Vec<CacheKeyId>, Failure> {
    let mut keys = Vec::new();
    for (query, result) in records {
        keys.push(world.cache.save(&query, result.as_ref()).await?);
    }
    Ok(keys)
}

async fn run(
    world: &World,
    vertex: &Vertex,
    inputs: Vec<ResultId>,
    pin: Option<Pin>,
    mut tools: Tools,
) -> OpOutcome {
    // What it leads to asks for its own permits; while it held one, those could wait for it forever.
    if let (Some(Kind::Build(op)), Some((asker, wanting))) = (&vertex.op.op, tools.nested.take()) {
        let solved = nested::run(world.worker.as_ref(), op, &inputs, asker, wanting);
        let outcome = tokio::select! {
            outcome = solved => outcome,
            () = tools.cancel.cancelled() => OpOutcome::Cancelled,
        };
        return match outcome {
            OpOutcome::Failed(failure) => OpOutcome::Failed(blame(failure, vertex)),
            other @ (OpOutcome::Success(_) | OpOutcome::Cancelled | OpOutcome::Fault(_)) => other,
        };
    }
    let permit = tokio::select! {
        permit = Permits::acquire([&tools.steps, &world.steps]) => permit,
        () = tools.cancel.cancelled() => return OpOutcome::Cancelled,
    };
    let request = OpRequest {
        vertex: vertex.digest.clone(),
        op: Arc::clone(&vertex.op),
        name: vertex.name.clone(),
        inputs,
        pin,
        build: tools.build,
        sessions: tools.sessions,
        resources: vertex.resources.clone(),
    };
    let worker = world.worker.as_ref();
    let outcome = attempt(
        worker,
        request,
        vertex.patience,
        tools.events,
        &tools.cancel,
    )
    .await;
    drop(permit);
    match outcome {
        OpOutcome::Failed(mut failure) => {
            if let Some(op) = &mut failure.op {
                Arc::make_mut(op).op = vertex.op.encode_to_vec();
            }
            OpOutcome::Failed(blame(failure, vertex))
        }
        OpOutcome::Fault(failure) => OpOutcome::Fault(blame(failure, vertex)),
        other @ (OpOutcome::Success(_) | OpOutcome::Cancelled) => other,
    }
}

/// A failure with the state whose content could not be digested.
fn of_content(mut failure: Failure, vertex: &Vertex, input: usize, result: &ResultId) -> Failure {
    failure.op.get_or_insert_with(|| {
        Arc::new(FailedOp {
            op: vertex.op.encode_to_vec(),
            inputs: vec![Some(result.clone())],
            part: Some(FailedPart::Content(input)),
            ..FailedOp::default()
        })
    });
    failure
}

/// Says which vertex a failure is of and which lines of the build's source made it.
fn blame(failure: Failure, vertex: &Vertex) -> Failure {
    let mut failure = failure.of_vertex(&vertex.digest);
    if failure.locations.is_empty() {
        failure.locations.clone_from(&vertex.locations);
    }
    failure
}

/// Waits for a question whose future may be dropped.
async fn unless_cancelled<T>(
    cancel: &CancellationToken,
    asked: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        answer = asked => answer,
        () = cancel.cancelled() => Err(Failure::new(FailureKind::Cancelled, "the build was cancelled")),
    }
}
