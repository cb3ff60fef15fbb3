//! One simulated run: jobs come and go, work takes random times, and every rule is checked as it goes.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Sum;

use cooper_core::model::{Edge, Failure, FailureKind, JobId, RequestId, ResultId, TaskId};
use cooper_core::ports::OpOutcome;
use cooper_core::scheduler::{Instruction, Report, Scheduler, Stimulus, Work, WorkDone};
use cooper_proto::Digest;

use crate::plan::{Build, Plan};
use crate::rng::Rng;
use crate::worker::{Trouble, Worker};

/// More events than any schedule of this size needs.
const MOST_EVENTS: usize = 100_000;

#[derive(Debug)]
enum Event {
    Open(usize),
    Want(usize),
    Abandon(RequestId),
    Close(usize),
    Finish(TaskId),
    CollectGarbage,
}

pub(crate) struct Schedule {
    rng: Rng,
    plan: Plan,
    worker: Worker,
    scheduler: Scheduler,
    now: u64,
    events: BTreeMap<(u64, u64), Event>,
    planned: u64,
    jobs: BTreeMap<usize, Job>,
    requests: BTreeMap<RequestId, Request>,
    tasks: BTreeMap<TaskId, Task>,
    /// Vertices whose run succeeded while these jobs had them.
    ran_for: BTreeMap<Digest, BTreeSet<usize>>,
    pub(crate) counts: Counts,
}

/// What happened, to see that schedules are not trivial.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) built: usize,
    pub(crate) failed: usize,
    pub(crate) cancelled: usize,
    pub(crate) runs: usize,
    pub(crate) loads: usize,
    pub(crate) stops: usize,
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |a, b| Self {
            built: a.built + b.built,
            failed: a.failed + b.failed,
            cancelled: a.cancelled + b.cancelled,
            runs: a.runs + b.runs,
            loads: a.loads + b.loads,
            stops: a.stops + b.stops,
        })
    }
}

struct Job {
    build: Build,
    /// Requests that it will still make.
    to_want: usize,
    open_requests: usize,
    open: bool,
    answered: Vec<ResultId>,
    /// The vertices that its requests so far need.
    needs: BTreeSet<Digest>,
    /// The vertices that it was told have begun and not yet that they are over.
    at_work: BTreeSet<Digest>,
}

struct Request {
    job: usize,
    edge: Edge,
    abandoned: bool,
    answered: bool,
}

struct Task {
    work: Work,
    stopping: bool,
}

impl Job {
    /// Reports make sense in their order: what is over has begun, unless it was cached, and nothing begins twice.
    fn hear(&mut self, vertex: &Digest, report: &Report) {
        let had_begun = match report {
            Report::Unrecorded(_) => return,
            Report::Started => !self.at_work.insert(vertex.clone()),
            Report::Completed { .. } | Report::Failed(_) | Report::Cancelled => {
                self.at_work.remove(vertex)
            }
        };
        let expected = match report {
            Report::Started => !had_begun,
            Report::Completed { cached, .. } => had_begun || *cached,
            Report::Cancelled => had_begun,
            // An op can fail before any work of it begins, by its inputs' contents.
            Report::Failed(_) | Report::Unrecorded(_) => true,
        };
        assert!(
            expected,
            "{vertex} is told to be {report:?} though begun is {had_begun}"
        );
    }
}

impl Schedule {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let plan = Plan::random(&mut rng);
        let trouble = Trouble {
            store: if rng.chance(20) { 10 } else { 0 },
            fault: if rng.chance(30) { 4 } else { 0 },
        };
        let mut schedule = Self {
            plan,
            worker: Worker::new(trouble),
            scheduler: Scheduler::new(),
            now: 0,
            events: BTreeMap::new(),
            planned: 0,
            jobs: BTreeMap::new(),
            requests: BTreeMap::new(),
            tasks: BTreeMap::new(),
            ran_for: BTreeMap::new(),
            counts: Counts::default(),
            rng,
        };
        // Some jobs come at once, others while those run, others when they are over.
        let span = if schedule.rng.chance(50) {
            4_000
        } else {
            100_000
        };
        let jobs = 1 + schedule.rng.below(6);
        for job in 0..jobs {
            let at = if schedule.rng.chance(40) {
                0
            } else {
                schedule.rng.below(span)
            };
            schedule.plan_at(u64::try_from(at).unwrap(), Event::Open(job));
        }
        for _ in 0..schedule.rng.below(4) {
            let at = u64::try_from(schedule.rng.below(span)).unwrap();
            schedule.plan_at(at, Event::CollectGarbage);
        }
        schedule
    }

    /// Runs to the end.
    pub(crate) fn run(mut self) -> Counts {
        let mut happened = 0;
        while let Some(((at, _), event)) = self.events.pop_first() {
            happened += 1;
            assert!(
                happened < MOST_EVENTS,
                "the schedule does not come to an end"
            );
            self.now = at;
            self.happen(event);
            if !cfg!(debug_assertions) {
                // Debug builds check inside.
                self.scheduler.check().unwrap();
            }
        }
        for (id, request) in &self.requests {
            assert!(
                request.answered,
                "{id:?} for {:?} was never answered: a deadlock",
                request.edge
            );
        }
        assert!(
            self.jobs.values().all(|job| !job.open),
            "a job never came to its end"
        );
        assert!(self.tasks.is_empty(), "tasks are left");
        assert_eq!(
            self.worker.pins(),
            0,
            "pins are left when all jobs are closed"
        );
        assert!(
            self.scheduler.is_empty(),
            "the scheduler keeps something: {:?}",
            self.scheduler
        );
        self.counts
    }

    fn plan_at(&mut self, at: u64, event: Event) {
        self.planned += 1;
        self.events.insert((at, self.planned), event);
    }

    fn plan_in(&mut self, event: Event) {
        let after = self.rng.duration();
        self.plan_at(self.now + after, event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Open(job) => {
                let build = self.plan.build(&mut self.rng, job);
                let to_want = 1 + self.rng.below(3);
                let opened = Job {
                    build,
                    to_want,
                    open_requests: 0,
                    open: true,
                    answered: Vec::new(),
                    needs: BTreeSet::new(),
                    at_work: BTreeSet::new(),
                };
                self.jobs.insert(job, opened);
                self.happen(Event::Want(job));
                if self.rng.chance(15) {
                    self.plan_in(Event::Close(job));
                }
            }
            Event::Want(job) => self.want(job),
            Event::Abandon(request) => self.abandon(request),
            Event::Close(job) => self.close(job),
            Event::Finish(task) => self.finish(task),
            Event::CollectGarbage => self.worker.collect_garbage(&mut self.rng),
        }
    }

    fn want(&mut self, job: usize) {
        let request = RequestId(u64::try_from(self.requests.len()).unwrap());
        let asking = self.jobs.get_mut(&job).unwrap();
        if !asking.open {
            return;
        }
        asking.to_want -= 1;
        asking.open_requests += 1;
        let edge = asking.build.edge(&mut self.rng);
        let closure = asking.build.facts[&edge.vertex].closure.iter();
        asking.needs.extend(closure.cloned());
        let stimulus = Stimulus::Wanted {
            request,
            job: JobId(job.to_string()),
            graph: asking.build.graph.clone(),
            edge: edge.clone(),
            scope: None,
            within: None,
        };
        if asking.to_want > 0 {
            self.plan_in(Event::Want(job));
        }
        let asked = Request {
            job,
            edge,
            abandoned: false,
            answered: false,
        };
        self.requests.insert(request, asked);
        if self.rng.chance(25) {
            self.plan_in(Event::Abandon(request));
        }
        self.stimulate(stimulus);
    }

    fn abandon(&mut self, request: RequestId) {
        let abandoned = self.requests.get_mut(&request).unwrap();
        abandoned.abandoned = true;
        let answered = abandoned.answered;
        if !answered || self.rng.chance(10) {
            self.stimulate(Stimulus::Abandoned { request });
        }
        assert!(
            self.requests[&request].answered,
            "an abandoned request is answered at once"
        );
    }

    fn close(&mut self, job: usize) {
        let closed = self.jobs.get_mut(&job).unwrap();
        if !closed.open {
            return;
        }
        for result in &closed.answered {
            assert!(
                self.worker.is_pinned(result),
                "{result} was answered and is not pinned"
            );
        }
        for request in self
            .requests
            .values_mut()
            .filter(|request| request.job == job)
        {
            request.abandoned = true;
        }
        let id = JobId(job.to_string());
        self.stimulate(Stimulus::JobClosed { job: id });
        let closed = self.jobs.get_mut(&job).unwrap();
        closed.open = false;
        let at_work = &closed.at_work;
        assert!(
            at_work.is_empty(),
            "job {job} is over and was told that these run: {at_work:?}"
        );
    }

    fn finish(&mut self, id: TaskId) {
        let Some(task) = self.tasks.remove(&id) else {
            return;
        };
        assert!(
            self.worker.may_use(&task.work),
            "results were let go while in use"
        );
        let stopped = Worker::stopped(&task.work);
        let done = match stopped {
            // Who is told to stop may have come to the end already.
            Some(stopped) if task.stopping && self.rng.chance(80) => stopped,
            Some(_) | None => self.worker.perform(&task.work, &mut self.rng),
        };
        if let (Work::Run { vertex, .. }, WorkDone::Run(OpOutcome::Success(_))) =
            (&task.work, &done)
        {
            self.counts.runs += 1;
            let have_it = self.open_jobs_that_need(&vertex.digest);
            self.ran_for.insert(vertex.digest.clone(), have_it);
        }
        self.counts.loads += usize::from(matches!(done, WorkDone::Load(Ok(true))));
        self.stimulate(Stimulus::Done { task: id, done });
    }

    fn open_jobs_that_need(&self, vertex: &Digest) -> BTreeSet<usize> {
        let jobs = self.jobs.iter();
        jobs.filter(|(_, job)| job.open && job.needs.contains(vertex))
            .map(|(id, _)| *id)
            .collect()
    }

    fn stimulate(&mut self, stimulus: Stimulus) {
        for instruction in self.scheduler.handle(self.now, stimulus) {
            self.follow(instruction);
        }
    }

    fn follow(&mut self, instruction: Instruction) {
        match instruction {
            Instruction::Perform { task, jobs, work } => self.start(task, &jobs, work),
            Instruction::Cancel { task } => {
                let stopping = self
                    .tasks
                    .get_mut(&task)
                    .expect("only what runs is stopped");
                assert!(!stopping.stopping, "{task:?} is stopped twice");
                stopping.stopping = true;
                self.counts.stops += 1;
                self.plan_in(Event::Finish(task));
            }
            Instruction::Audience { task, jobs } => {
                assert!(
                    self.tasks.contains_key(&task),
                    "only what runs has an audience"
                );
                self.are_open(&jobs);
            }
            Instruction::Report {
                job,
                vertex,
                report,
            } => {
                let told = self.jobs.get_mut(&job.0.parse().unwrap()).unwrap();
                assert!(told.open, "a closed job is told of {}", vertex.name);
                told.hear(&vertex.digest, &report);
                if let Report::Failed(failure) = report {
                    self.is_justified(&vertex.digest, &failure);
                }
            }
            Instruction::Answer { request, answer } => self.answered(request, answer),
            Instruction::Release { results } => self.worker.release(&results),
        }
    }

    fn are_open(&self, jobs: &[JobId]) {
        for job in jobs {
            let number = job.0.parse().unwrap();
            assert!(
                self.jobs.get(&number).is_none_or(|job| job.open),
                "{job} is closed"
            );
        }
    }

    fn start(&mut self, id: TaskId, jobs: &[JobId], work: Work) {
        self.are_open(jobs);
        assert!(
            self.worker.may_use(&work),
            "work begins on results that are not pinned"
        );
        if let Work::Run { vertex, .. } = &work {
            self.may_run(&vertex.digest);
        }
        let task = Task {
            work,
            stopping: false,
        };
        assert!(
            self.tasks.insert(id, task).is_none(),
            "{id:?} is there already"
        );
        self.plan_in(Event::Finish(id));
    }

    /// A vertex does not run while it runs, and not again while a job is open for which it ran. Those that ignore the
    /// cache are other vertices with the same digest, and a store in trouble may not know what ran.
    fn may_run(&self, vertex: &Digest) {
        let facts = || {
            self.jobs
                .values()
                .filter_map(|job| job.build.facts.get(vertex))
        };
        if facts().any(|fact| fact.ignores_cache) {
            return;
        }
        let runs = |task: &&Task| matches!(&task.work, Work::Run { vertex: other, .. } if other.digest == *vertex);
        assert!(
            !self.tasks.values().any(|task| runs(&task)),
            "{vertex} runs twice at a time"
        );
        if self.worker.trouble.store == 0 && self.worker.trouble.fault == 0 {
            let mut kept_for = self.ran_for.get(vertex).into_iter().flatten();
            assert!(
                !kept_for.any(|job| self.jobs[job].open),
                "{vertex} runs again though its result is there"
            );
        }
    }

    fn answered(&mut self, id: RequestId, answer: Result<ResultId, Failure>) {
        let request = self
            .requests
            .get_mut(&id)
            .expect("only what was asked is answered");
        assert!(!request.answered, "{id:?} is answered twice");
        request.answered = true;
        let (job, edge, abandoned) = (request.job, request.edge.clone(), request.abandoned);
        let asking = self.jobs.get_mut(&job).unwrap();
        asking.open_requests -= 1;
        match answer {
            Ok(result) => {
                let fact = &asking.build.facts[&edge.vertex];
                let expected = fact.states[usize::try_from(edge.output).unwrap()];
                assert_eq!(
                    self.worker.state(&result),
                    expected,
                    "{edge:?} has another state"
                );
                assert!(self.worker.is_pinned(&result), "an answer is not pinned");
                asking.answered.push(result);
                self.counts.built += 1;
            }
            Err(failure) if abandoned => {
                assert_eq!(failure.kind, FailureKind::Cancelled);
                self.counts.cancelled += 1;
            }
            Err(failure) => {
                // It need not be of this build: a vertex that ran for an equal one of another build fails both.
                let culprit = failure.vertex.clone().expect("a failure names its vertex");
                self.is_justified(&culprit, &failure);
                self.counts.failed += 1;
            }
        }
        let asking = &self.jobs[&job];
        if asking.open_requests == 0 && asking.to_want == 0 {
            self.plan_in(Event::Close(job));
        }
    }

    fn is_justified(&self, vertex: &Digest, failure: &Failure) {
        assert!(!matches!(failure.kind, FailureKind::Internal), "{failure}");
        let broken = self
            .jobs
            .values()
            .filter_map(|job| job.build.facts.get(vertex))
            .any(|fact| fact.broken);
        let reason = match failure.kind {
            FailureKind::Exit { .. } => broken,
            _ => self.worker.faults.contains(vertex),
        };
        assert!(reason, "{vertex} failed for no reason: {failure:?}");
    }
}
