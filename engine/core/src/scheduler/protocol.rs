//! The closed set of events that reach the scheduler and of instructions that leave it.
//!
//! Calling contract:
//! 1. Only the driver owns the scheduler; it calls `handle` with one stimulus at a time and the current time.
//! 2. It performs the returned instructions in order. Each [`Instruction::Perform`] is answered by exactly one
//!    [`Stimulus::Done`] with the same task, also after a cancel.
//! 3. Each [`Stimulus::Wanted`] is answered by exactly one [`Instruction::Answer`].
//! 4. Every result that a `Done` carried belongs to the scheduler until it says [`Instruction::Release`].

use std::sync::Arc;

use cooper_proto::Digest;

use crate::cachekey::MissReason;
use crate::graph::{Graph, Vertex};
use crate::model::{
    CacheKeyId, ContentSelector, Edge, Failure, JobId, Pin, RequestId, ResultId, TaskId,
};
use crate::ports::{CachedResult, KeyQuery, LookupAnswer, OpOutcome, SourceKey};

/// Something that happened.
#[derive(Debug)]
pub enum Stimulus {
    /// A job asks for one output; its graph is merged with those that run already. The scheduler may see the same
    /// edge wanted by many requests and jobs.
    Wanted {
        /// The question.
        request: RequestId,
        /// Who asks.
        job: JobId,
        /// A checked graph that has the edge.
        graph: Arc<Graph>,
        /// The output.
        edge: Edge,
        /// The caches that the job imports, by a name for all of them together. Work is shared between jobs of the
        /// same scope, so that what an imported cache claims reaches only who asked for it.
        scope: Option<Digest>,
        /// Set when a build op asks, while it runs, for the graph that it read.
        within: Option<Within>,
    },
    /// A request is no longer of interest. It is still answered, with a `Cancelled` failure.
    Abandoned {
        /// The question.
        request: RequestId,
    },
    /// A job is over: its open requests are abandoned and what only it needed is let go.
    JobClosed {
        /// The job.
        job: JobId,
    },
    /// A task is finished.
    Done {
        /// The task.
        task: TaskId,
        /// How it went.
        done: WorkDone,
    },
}

/// Where a nested graph is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Within {
    /// The task that runs the build op.
    pub task: TaskId,
    /// How many graphs may be asked for within each other, the client's own aside.
    pub limit: usize,
}

/// Something that the driver must do.
#[derive(Debug)]
pub enum Instruction {
    /// Start a piece of work; concurrency limits are the driver's.
    Perform {
        /// Its name.
        task: TaskId,
        /// The jobs that want it now: whose sessions it may use, who sees its log.
        jobs: Vec<JobId>,
        /// What to do.
        work: Work,
    },
    /// Stop a piece of work early. Its `Done` still comes.
    Cancel {
        /// The task.
        task: TaskId,
    },
    /// Another job takes an interest in a task that runs (or one loses it): its log goes to these jobs from now on.
    Audience {
        /// The task.
        task: TaskId,
        /// All jobs that want it now.
        jobs: Vec<JobId>,
    },
    /// Tell a job of a change at one of its vertices.
    Report {
        /// Who is told.
        job: JobId,
        /// The vertex.
        vertex: Arc<Vertex>,
        /// The change.
        report: Report,
    },
    /// Answer a request.
    Answer {
        /// The question.
        request: RequestId,
        /// The answer. A result in it is the scheduler's: it stays pinned until the job is closed.
        answer: Answer,
    },
    /// Give up the pins that the scheduler holds, one for each mention.
    Release {
        /// The results.
        results: Vec<ResultId>,
    },
}

/// A piece of work for the driver.
#[derive(Debug, Clone)]
pub enum Work {
    /// Ask the worker for a source's key.
    SourceKey {
        /// The source.
        vertex: Arc<Vertex>,
        /// Which of its keys.
        index: u32,
        /// What index 0 resolved to.
        pin: Option<Pin>,
    },
    /// Ask the cache store for keys.
    Lookup {
        /// The question.
        query: KeyQuery,
        /// The imported caches to ask as well.
        scope: Option<Digest>,
    },
    /// List the results under keys, those of the first key first.
    Results {
        /// The keys.
        keys: Vec<CacheKeyId>,
        /// Keys that an imported cache gave; their results come last.
        imported: Vec<CacheKeyId>,
        /// The imported caches.
        scope: Option<Digest>,
    },
    /// Pin a result that a cache record named (`Worker::retain`).
    Load {
        /// The result.
        result: ResultId,
    },
    /// Digest an input's contents.
    ContentKey {
        /// Who reads it.
        vertex: Arc<Vertex>,
        /// Which of its inputs it is.
        input: usize,
        /// The input's result.
        result: ResultId,
        /// What to look at.
        selectors: Vec<ContentSelector>,
    },
    /// Run an op.
    Run {
        /// The vertex.
        vertex: Arc<Vertex>,
        /// Results of its inputs, in the op's order.
        inputs: Vec<ResultId>,
        /// What the source resolved to.
        pin: Option<Pin>,
    },
    /// Record results under keys, durably.
    Save {
        /// For each output that has a result: its query and the result.
        records: Vec<(KeyQuery, Option<ResultId>)>,
    },
    /// Forget a result that could not be loaded.
    Forget {
        /// The result.
        result: ResultId,
    },
}

/// How a piece of work went. The variant matches that of the [`Work`].
#[derive(Debug, Clone)]
pub enum WorkDone {
    /// Of `SourceKey`.
    SourceKey(Result<SourceKey, Failure>),
    /// Of `Lookup`.
    Lookup(Result<LookupAnswer, Failure>),
    /// Of `Results`.
    Results(Result<Vec<CachedResult>, Failure>),
    /// Of `Load`: whether the result is there and now pinned. A failure says neither.
    Load(Result<bool, Failure>),
    /// Of `ContentKey`.
    ContentKey(Result<Digest, Failure>),
    /// Of `Run`.
    Run(OpOutcome),
    /// Of `Save`: the keys, in the records' order.
    Save(Result<Vec<CacheKeyId>, Failure>),
    /// Of `Forget`.
    Forget,
}

/// A change at a vertex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Work on it began (resolving its source, or running it).
    Started,
    /// It is done: run, or found in a cache.
    Completed {
        /// Whether its result came from a cache.
        cached: bool,
        /// Why the cache did not serve it, when it ran.
        miss: Option<MissReason>,
    },
    /// It failed.
    Failed(Failure),
    /// It was stopped because nobody wants it any more.
    Cancelled,
    /// It ran, and that could not be recorded: it runs again in later builds, and what stands on it.
    Unrecorded(Failure),
}

/// The answer to a request.
pub type Answer = Result<ResultId, Failure>;
