use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cooper_core::graph::Graph;
use cooper_core::model::{Edge, Failure, FailureKind, JobId, Pin, RequestId, ResultId, SessionId};
use cooper_core::ports::{CacheStore, CachedResult, Worker};
use cooper_core::scheduler::{Answer, EdgeRecord};
use cooper_proto::Digest;
use tokio::sync::{mpsc, oneshot};

use super::perform::World;
use super::turn::{Command, Turn};
use super::{Asker, Imports, Nest, Permits, Task, Tasks};
use crate::Clock;
use crate::progress::JobLog;

/// What the driver must know of a build.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    /// Where the build's progress goes.
    pub(crate) log: Arc<JobLog>,
    /// The sessions that work for it may use, the best first.
    pub(crate) sessions: Vec<SessionId>,
    /// How many of its steps may run at a time.
    pub(crate) steps: Permits,
    /// The caches that it imports, in each set that it asks.
    pub(crate) imports: Vec<Imports>,
    /// Who asks for the graphs that its build ops read.
    pub(crate) nest: Arc<dyn Nest>,
}

/// Where a graph is asked for that a build op read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nested {
    /// The build op's run.
    pub(crate) asker: Asker,
    /// How many such graphs may lead to one another.
    pub(crate) limit: usize,
}

/// What a driver works with.
pub(crate) struct DriverParts {
    pub(crate) worker: Arc<dyn Worker>,
    pub(crate) cache: Arc<dyn CacheStore>,
    /// How many steps the worker runs at a time.
    pub(crate) steps: Permits,
    pub(crate) clock: Clock,
}

/// The way to ask the one task that owns the scheduler.
pub(crate) struct Driver {
    commands: mpsc::UnboundedSender<Command>,
    requests: AtomicU64,
    pub(super) world: World,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

impl Driver {
    /// Starts the driver's task, which ends after [`Driver::stop`].
    pub(crate) fn start(parts: DriverParts, tasks: &Tasks) -> (Self, Task<()>) {
        let (commands, received) = mpsc::unbounded_channel();
        let world = World {
            worker: parts.worker,
            cache: parts.cache,
            steps: parts.steps,
        };
        let turn = Turn::new(world.clone(), parts.clock, tasks.clone(), commands.clone());
        let task = tasks.spawn("the driver", turn.run(received));
        let driver = Self {
            commands,
            requests: AtomicU64::new(1),
            world,
        };
        (driver, task)
    }

    /// Makes a build known. Comes before its first request.
    pub(crate) fn open(&self, job: JobId, seat: Seat) {
        self.send(Command::Open { job, seat });
    }

    /// Asks for one output of a checked graph, which imported caches may serve.
    ///
    /// # Cancel
    /// Dropping the future abandons the request; work that nobody else wants is stopped.
    pub(crate) async fn want(
        &self,
        job: &JobId,
        graph: Arc<Graph>,
        edge: Edge,
        imports: Option<Imports>,
    ) -> Answer {
        self.ask(job, graph, edge, imports, None).await
    }

    /// The same for one that a build op asks for while it runs. No imported cache is asked: the op itself is in those that
    /// may serve it.
    ///
    /// # Errors
    /// Those of what is asked for; `InvalidInput` for one that needs the op that asks, or that is nested too deep.
    pub(crate) async fn want_nested(
        &self,
        job: &JobId,
        graph: Arc<Graph>,
        edge: Edge,
        nested: Nested,
    ) -> Answer {
        self.ask(job, graph, edge, None, Some(nested)).await
    }

    async fn ask(
        &self,
        job: &JobId,
        graph: Arc<Graph>,
        edge: Edge,
        imports: Option<Imports>,
        nested: Option<Nested>,
    ) -> Answer {
        let request = RequestId(self.requests.fetch_add(1, Ordering::Relaxed));
        let (reply, answer) = oneshot::channel();
        self.send(Command::Want {
            request,
            job: job.clone(),
            graph,
            edge,
            imports,
            nested,
            reply,
        });
        let guard = Abandon {
            driver: self,
            request,
            armed: true,
        };
        let answer = answer.await;
        guard.disarm();
        answer.unwrap_or_else(|_| Err(gone()))
    }

    /// How the keys of results of a build were made, for an export of the cache; see
    /// [`cooper_core::scheduler::Scheduler::records`].
    pub(crate) async fn records(&self, job: &JobId, edges: Vec<Edge>) -> Vec<EdgeRecord> {
        let (reply, answer) = oneshot::channel();
        let job = job.clone();
        self.send(Command::Records { job, edges, reply });
        // Without a driver there is no build any more.
        answer.await.unwrap_or_default()
    }

    /// What a build's sources resolved to, by their vertices; see [`cooper_core::scheduler::Scheduler::pins`].
    pub(crate) async fn pins(&self, job: &JobId) -> BTreeMap<Digest, Pin> {
        let (reply, answer) = oneshot::channel();
        let job = job.clone();
        self.send(Command::Pins { job, reply });
        answer.await.unwrap_or_default()
    }

    /// What keys lead to, the best first, and one of it that is there, pinned once for the caller.
    pub(crate) async fn cached(
        &self,
        record: &EdgeRecord,
        imports: &[Imports],
    ) -> Result<Option<CachedResult>, Failure> {
        let of_scope = |imports: &&Imports| record.scope.as_ref() == Some(&imports.scope);
        let imports = imports.iter().find(of_scope);
        let listed = self.world.results(&record.keys, &record.imported, imports);
        let listed = listed.await?;
        let known = record.result.as_ref();
        let is_known = |cached: &&CachedResult| Some(&cached.result) == known;
        if let Some(cached) = listed.iter().find(is_known) {
            // It has a pin for as long as the build is open; the caller gets one more.
            if self.world.worker.retain(&cached.result).await? {
                return Ok(Some(cached.clone()));
            }
        }
        for cached in listed {
            if self.world.worker.retain(&cached.result).await? {
                return Ok(Some(cached));
            }
        }
        Ok(None)
    }

    /// Gives pins back.
    pub(crate) async fn release(&self, results: Vec<ResultId>) {
        self.world.worker.release(results).await;
    }

    /// Ends a build: its open requests are abandoned, what only it needed is stopped, and this returns when all of that
    /// is cleaned up.
    pub(crate) async fn close(&self, job: &JobId) {
        let (done, closed) = oneshot::channel();
        self.send(Command::Close {
            job: job.clone(),
            done,
        });
        // An error means that the driver has stopped, and with it all work.
        let _stopped = closed.await;
    }

    /// Lets the driver's task end once no work is under way.
    pub(crate) fn stop(&self) {
        self.send(Command::Stop);
    }

    fn send(&self, command: Command) {
        // Who waits for an answer sees that the driver is gone; the rest needs nothing from it any more.
        let _unheard = self.commands.send(command);
    }
}

/// Gives up a request unless it was answered.
struct Abandon<'a> {
    driver: &'a Driver,
    request: RequestId,
    armed: bool,
}

impl Abandon<'_> {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.driver.send(Command::Abandon {
                request: self.request,
            });
        }
    }
}

fn gone() -> Failure {
    Failure::new(FailureKind::Cancelled, "the build is over")
}
