use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cooper_core::graph::{Graph, Vertex};
use cooper_core::model::{Edge, Failure, JobId, Pin, RequestId, ResultId, TaskId, Warning};
use cooper_core::ports::OpOutcome;
use cooper_core::scheduler::{
    Answer, EdgeRecord, Instruction, Report, Scheduler, Stimulus, Within, Work, WorkDone,
};
use cooper_proto::{Digest, pb};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::ask::Nested;
use super::nested::{Asker, Wanting, is_build_op};
use super::perform::{Tools, WorkKind, World, perform};
use super::tasks::{contain, panicked};
use super::{Imports, Seat, Task, Tasks};
use crate::Clock;
use crate::progress::{Audience, JobLog, VertexHead};

/// Something for the driver's task to do.
#[derive(Debug)]
pub(super) enum Command {
    /// A build begins.
    Open { job: JobId, seat: Seat },
    /// A build wants an output.
    Want {
        request: RequestId,
        job: JobId,
        graph: Arc<Graph>,
        edge: Edge,
        imports: Option<Imports>,
        nested: Option<Nested>,
        reply: oneshot::Sender<Answer>,
    },
    /// Nobody waits for an answer any more.
    Abandon { request: RequestId },
    /// How the keys of a build's results were made is asked for.
    Records {
        job: JobId,
        edges: Vec<Edge>,
        reply: oneshot::Sender<Vec<EdgeRecord>>,
    },
    /// What a build's sources resolved to is asked for.
    Pins {
        job: JobId,
        reply: oneshot::Sender<BTreeMap<Digest, Pin>>,
    },
    /// A build ends.
    Close {
        job: JobId,
        done: oneshot::Sender<()>,
    },
    /// A task is finished.
    Done { name: TaskName, done: WorkDone },
    /// End when all is quiet.
    Stop,
}

/// A task's name, unique across schedulers: a scheduler that replaces a broken one counts from the start again.
pub(super) type TaskName = (u64, TaskId);

/// The state of the driver's task.
pub(super) struct Turn {
    world: World,
    /// What ops without a platform run on.
    host: pb::Platform,
    clock: Clock,
    tasks: Tasks,
    commands: mpsc::UnboundedSender<Command>,
    scheduler: Scheduler,
    /// How many schedulers there were before this one.
    epoch: u64,
    seats: BTreeMap<JobId, Seat>,
    answers: BTreeMap<RequestId, (JobId, oneshot::Sender<Answer>)>,
    running: BTreeMap<TaskName, Running>,
    closing: Vec<Closing>,
    /// Which build's log has what happened inside a vertex: the first that it was reported to.
    origins: BTreeMap<Digest, JobId>,
    releases: Vec<Task<()>>,
    /// States that failed steps were left in, with the builds that may look into them.
    failed: Vec<(Vec<JobId>, Vec<ResultId>)>,
    stopping: bool,
}

/// A task under way.
struct Running {
    cancel: CancellationToken,
    audience: Arc<Audience>,
    jobs: Vec<JobId>,
    vertex: Option<VertexHead>,
    /// The result that it pins.
    loads: Option<ResultId>,
    /// Of a build op: the way to say which builds want it.
    wanting: Option<watch::Sender<Wanting>>,
    _task: Task<()>,
}

/// A build that is over and waits for its cleanup.
struct Closing {
    waits_for: Vec<TaskName>,
    done: oneshot::Sender<()>,
}

impl Turn {
    pub(super) fn new(
        world: World,
        clock: Clock,
        tasks: Tasks,
        commands: mpsc::UnboundedSender<Command>,
    ) -> Self {
        let platforms = world.worker.info().platforms;
        let host = platforms.into_iter().next().unwrap_or_default();
        Self {
            scheduler: Scheduler::for_platform(host.clone()),
            host,
            world,
            clock,
            tasks,
            commands,
            epoch: 0,
            seats: BTreeMap::new(),
            answers: BTreeMap::new(),
            running: BTreeMap::new(),
            closing: Vec::new(),
            origins: BTreeMap::new(),
            releases: Vec::new(),
            failed: Vec::new(),
            stopping: false,
        }
    }

    /// Applies commands one after another until told to stop and all work has ended.
    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        while let Some(command) = commands.recv().await {
            self.apply(command);
            if self.stopping && self.running.is_empty() && self.seats.is_empty() {
                break;
            }
        }
        for release in self.releases {
            if let Err(failure) = release.await {
                tracing::error!(%failure, "results could not be released");
            }
        }
    }

    fn apply(&mut self, command: Command) {
        match command {
            Command::Open { job, seat } => {
                self.seats.insert(job, seat);
            }
            Command::Want {
                request,
                job,
                graph,
                edge,
                imports,
                nested,
                reply,
            } => {
                let of_this = |nested: Nested| nested.asker.0.0 == self.epoch;
                if !nested.is_none_or(of_this) {
                    // The scheduler that knew the build op is gone; nobody waits for its result.
                    return;
                }
                let within = nested.map(|nested| Within {
                    task: nested.asker.0.1,
                    limit: nested.limit,
                });
                if let Some(seat) = self.seats.get_mut(&job) {
                    seat.log
                        .announce(graph.vertices.values().map(AsRef::as_ref));
                    let scope = imports.as_ref().map(|imports| imports.scope.clone());
                    let is_known = |imports: &Imports| {
                        let mut known = seat.imports.iter();
                        known.any(|known| known.scope == imports.scope)
                    };
                    let new = imports.filter(|imports| !is_known(imports));
                    seat.imports.extend(new);
                    self.answers.insert(request, (job.clone(), reply));
                    self.stimulate(Stimulus::Wanted {
                        request,
                        job,
                        graph,
                        edge,
                        scope,
                        within,
                    });
                }
            }
            Command::Abandon { request } => {
                if self.answers.contains_key(&request) {
                    self.stimulate(Stimulus::Abandoned { request });
                }
            }
            Command::Records { job, edges, reply } => {
                let (records, _) = self.scheduler.records(&job, &edges);
                let _unheard = reply.send(records);
            }
            Command::Pins { job, reply } => {
                let _unheard = reply.send(self.scheduler.pins(&job));
            }
            Command::Close { job, done } => self.close(job, done),
            Command::Done { name, done } => self.done(name, done),
            Command::Stop => self.stopping = true,
        }
    }

    fn close(&mut self, job: JobId, done: oneshot::Sender<()>) {
        let waits_for = self
            .running
            .iter()
            .filter(|(_, running)| running.jobs == [job.clone()])
            .map(|(name, _)| *name)
            .collect();
        self.stimulate(Stimulus::JobClosed { job: job.clone() });
        self.seats.remove(&job);
        self.origins.retain(|_, origin| *origin != job);
        self.forget_failed(&job);
        self.closing.push(Closing { waits_for, done });
        self.tell_closed();
    }

    fn tell_closed(&mut self) {
        let (over, waiting) = std::mem::take(&mut self.closing)
            .into_iter()
            .partition(|closing| closing.waits_for.is_empty());
        self.closing = waiting;
        for closing in over {
            // Nobody needs to be told when the build's owner is gone as well.
            let _unheard = closing.done.send(());
        }
    }

    fn done(&mut self, name: TaskName, done: WorkDone) {
        let Some(running) = self.running.remove(&name) else {
            return;
        };
        if let WorkDone::Run(OpOutcome::Failed(failure)) = &done
            && let Some(op) = &failure.op
        {
            let made = op.made();
            let mut jobs = running.jobs.clone();
            jobs.retain(|job| self.seats.contains_key(job));
            match jobs.is_empty() {
                true => self.release(made),
                false => self.failed.push((jobs, made)),
            }
        }
        let (epoch, task) = name;
        if epoch == self.epoch {
            self.stimulate(Stimulus::Done { task, done });
        } else {
            // The scheduler that asked is gone, so that nobody else gives these pins back.
            self.release(pins(done, running.loads));
        }
        for closing in &mut self.closing {
            closing.waits_for.retain(|waited| *waited != name);
        }
        self.tell_closed();
    }

    /// Lets go of the states of failed steps that only this build could look into.
    fn forget_failed(&mut self, job: &JobId) {
        for (jobs, _) in &mut self.failed {
            jobs.retain(|it| it != job);
        }
        let (over, wanted) = std::mem::take(&mut self.failed)
            .into_iter()
            .partition::<Vec<_>, _>(|(jobs, _)| jobs.is_empty());
        self.failed = wanted;
        self.release(over.into_iter().flat_map(|(_, states)| states).collect());
    }

    /// Hands one stimulus to the scheduler and does as it says.
    fn stimulate(&mut self, stimulus: Stimulus) {
        let now = self.clock.now_ns();
        let scheduler = &mut self.scheduler;
        match catch_unwind(AssertUnwindSafe(|| scheduler.handle(now, stimulus))) {
            Ok(instructions) => {
                for instruction in instructions {
                    self.follow(instruction);
                }
            }
            Err(panic) => self.restart(&panicked("the scheduler", panic.as_ref())),
        }
    }

    /// Begins anew after a fault of the scheduler: every build that waits fails, and later ones are not affected.
    fn restart(&mut self, failure: &Failure) {
        self.scheduler = Scheduler::for_platform(self.host.clone());
        self.epoch += 1;
        for running in self.running.values() {
            running.cancel.cancel();
        }
        for (_, (_, reply)) in std::mem::take(&mut self.answers) {
            let _unheard = reply.send(Err(failure.clone()));
        }
    }

    fn follow(&mut self, instruction: Instruction) {
        match instruction {
            Instruction::Perform { task, jobs, work } => self.start(task, jobs, work),
            Instruction::Cancel { task } => {
                if let Some(running) = self.running.get(&(self.epoch, task)) {
                    running.cancel.cancel();
                }
            }
            Instruction::Audience { task, jobs } => self.audience(task, jobs),
            Instruction::Report {
                job,
                vertex,
                report,
            } => self.report(&job, &vertex, report),
            Instruction::Answer { request, answer } => {
                if let Some((_, reply)) = self.answers.remove(&request) {
                    let _unheard = reply.send(answer);
                }
            }
            Instruction::Release { results } => self.release(results),
        }
    }

    fn start(&mut self, task: TaskId, jobs: Vec<JobId>, work: Work) {
        let name = (self.epoch, task);
        let kind = WorkKind::from(&work);
        let vertex = vertex_of(&work).map(VertexHead::from);
        let digest = vertex.as_ref().map(|head| head.digest.clone());
        let logs = self.logs(&jobs);
        if let Some(head) = &vertex {
            logs.iter().for_each(|log| log.join(head));
        }
        let loads = match &work {
            Work::Load { result } => Some(result.clone()),
            _ => None,
        };
        let readers = match &work {
            Work::ContentKey { .. } => logs.clone(),
            _ => Vec::new(),
        };
        let audience = Audience::new(digest, logs);
        let (wanting, wanted_by) = match is_build_op(&work) {
            true => {
                let (sender, receiver) = watch::channel(self.wanting(&jobs));
                (Some(sender), Some(receiver))
            }
            false => (None, None),
        };
        let cancel = CancellationToken::new();
        let tools = Tools {
            nested: wanted_by.map(|wanting| (Asker(name), wanting)),
            build: jobs.first().cloned(),
            sessions: self.sessions(&jobs),
            events: Arc::<Audience>::clone(&audience),
            readers,
            cancel: cancel.clone(),
            imports: self.imports(&work, &jobs),
            steps: jobs
                .iter()
                .find_map(|job| self.seats.get(job))
                .map_or_else(|| super::Permits::new(None), |seat| seat.steps.clone()),
        };
        let world = self.world.clone();
        let commands = self.commands.clone();
        let spawned = self.tasks.spawn(kind.name(), async move {
            let done = contain(kind.name(), perform(world, work, tools))
                .await
                .unwrap_or_else(|failure| kind.failed(failure));
            // The driver outlives its tasks: it stops only when none is left.
            let _unheard = commands.send(Command::Done { name, done });
        });
        let running = Running {
            cancel,
            audience,
            jobs,
            vertex,
            loads,
            wanting,
            _task: spawned,
        };
        self.running.insert(name, running);
    }

    fn audience(&mut self, task: TaskId, jobs: Vec<JobId>) {
        let logs = self.logs(&jobs);
        let wanting = self.wanting(&jobs);
        let Some(running) = self.running.get_mut(&(self.epoch, task)) else {
            return;
        };
        let origin = running.jobs.iter().find_map(|job| self.seats.get(job));
        running.audience.change(logs.clone(), || {
            if let (Some(head), Some(origin)) = (&running.vertex, origin) {
                for log in &logs {
                    log.adopt(head, &origin.log);
                    log.join(head);
                }
            }
        });
        running.jobs = jobs;
        if let Some(sender) = &running.wanting {
            sender.send_replace(wanting);
        }
    }

    fn report(&mut self, job: &JobId, vertex: &Vertex, report: Report) {
        let Some(log) = self.seats.get(job).map(|seat| Arc::clone(&seat.log)) else {
            return;
        };
        let head = VertexHead::from(vertex);
        let origin = self
            .origins
            .entry(vertex.digest.clone())
            .or_insert_with(|| job.clone());
        let since = self.seats.get(origin).and_then(|seat| {
            log.adopt(&head, &seat.log);
            seat.log.running_since(&vertex.digest)
        });
        match report {
            Report::Started => log.started(&head, since),
            Report::Completed { cached, miss } => log.completed(&head, cached, miss),
            Report::Failed(failure) => log.failed(&head, &failure),
            Report::Cancelled => log.cancelled(&head),
            Report::Unrecorded(failure) => log.warn(Some(&vertex.digest), &unrecorded(&failure)),
        }
    }

    fn release(&mut self, results: Vec<ResultId>) {
        if results.is_empty() {
            return;
        }
        let worker = Arc::clone(&self.world.worker);
        self.releases.retain(|task| !task.is_over());
        self.releases
            .push(self.tasks.spawn(
                "releasing results",
                async move { worker.release(results).await },
            ));
    }

    /// The imported caches of the scope that work is of: those of a build that wants it, else of any that has them.
    fn imports(&self, work: &Work, jobs: &[JobId]) -> Option<Imports> {
        let scope = match work {
            Work::Lookup { scope, .. } | Work::Results { scope, .. } => scope.as_ref()?,
            Work::SourceKey { .. }
            | Work::Run { .. }
            | Work::Load { .. }
            | Work::ContentKey { .. }
            | Work::Save { .. }
            | Work::Forget { .. } => return None,
        };
        let own = jobs.iter().filter_map(|job| self.seats.get(job));
        let seats = own.chain(self.seats.values());
        let mut imports = seats.flat_map(|seat| &seat.imports);
        imports.find(|imports| imports.scope == *scope).cloned()
    }

    fn logs(&self, jobs: &[JobId]) -> Vec<Arc<JobLog>> {
        let seats = jobs.iter().filter_map(|job| self.seats.get(job));
        seats.map(|seat| Arc::clone(&seat.log)).collect()
    }

    fn wanting(&self, jobs: &[JobId]) -> Wanting {
        let seat = |job: &JobId| Some((job.clone(), Arc::clone(&self.seats.get(job)?.nest)));
        jobs.iter().filter_map(seat).collect()
    }

    fn sessions(&self, jobs: &[JobId]) -> Vec<cooper_core::model::SessionId> {
        let mut sessions = Vec::new();
        for seat in jobs.iter().filter_map(|job| self.seats.get(job)) {
            for session in &seat.sessions {
                if !sessions.contains(session) {
                    sessions.push(session.clone());
                }
            }
        }
        sessions
    }
}

fn vertex_of(work: &Work) -> Option<&Vertex> {
    match work {
        Work::SourceKey { vertex, .. } | Work::Run { vertex, .. } => Some(vertex),
        Work::Lookup { .. }
        | Work::Results { .. }
        | Work::Load { .. }
        | Work::ContentKey { .. }
        | Work::Save { .. }
        | Work::Forget { .. } => None,
    }
}

/// What a build is told when the cache cannot be written.
fn unrecorded(failure: &Failure) -> Warning {
    tracing::error!(%failure, "the result of a step could not be recorded");
    Warning {
        level: 1,
        short: "the result of this step could not be recorded: later builds run it and what stands on it again"
            .to_owned(),
        detail: vec![failure.message.clone()],
        ..Warning::default()
    }
}

/// The results that finished work has pinned.
fn pins(done: WorkDone, loads: Option<ResultId>) -> Vec<ResultId> {
    match done {
        WorkDone::Run(OpOutcome::Success(results)) => results,
        WorkDone::Load(Ok(true)) => loads.into_iter().collect(),
        _ => Vec::new(),
    }
}
