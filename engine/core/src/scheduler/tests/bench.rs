use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use cooper_proto::{Digest, pb};

use crate::graph::{Graph, Vertex};
use crate::model::{
    Edge, Failure, FailureKind, JobId, LinuxResources, Patience, Pin, RequestId, ResultId, TaskId,
};
use crate::ports::conformance::MemoryStore;
use crate::ports::{OpOutcome, SourceKey};
use crate::scheduler::{Answer, Instruction, Report, Scheduler, Stimulus, Within, Work, WorkDone};

/// How deep graphs nest in these tests.
pub(super) const NESTING: usize = 3;

/// A scheduler with a world that answers questions at once and leaves runs to the test.
#[derive(Default)]
pub(super) struct Bench {
    pub(super) scheduler: Scheduler,
    pub(super) store: MemoryStore,
    /// Runs under way, by name of the vertex.
    pub(super) running: BTreeMap<String, TaskId>,
    /// Every run that began, in order.
    pub(super) begun: Vec<String>,
    /// The limits of each run that began, in order.
    pub(super) limits: Vec<Option<LinuxResources>>,
    /// Every source that was resolved, with the key's number.
    pub(super) resolved: Vec<String>,
    /// Every content that was digested.
    pub(super) digested: Vec<ResultId>,
    /// Runs that were told to stop.
    pub(super) stopped: Vec<String>,
    pub(super) answers: BTreeMap<u64, Answer>,
    pub(super) reports: Vec<(String, String, Report)>,
    pub(super) audiences: Vec<Vec<JobId>>,
    /// Pins, counted.
    pub(super) pins: BTreeMap<ResultId, i64>,
    /// Results that the worker does not have any more.
    pub(super) gone: BTreeSet<ResultId>,
    /// Whether results can be neither looked for nor recorded.
    pub(super) broken: bool,
    /// What contents are digested to, by result; a result's own name if not said.
    pub(super) contents: BTreeMap<ResultId, String>,
    /// Sources whose keys cannot be told.
    pub(super) unresolvable: BTreeSet<String>,
    todo: VecDeque<Instruction>,
    asked: u64,
}

/// A graph in the making.
#[derive(Default)]
pub(super) struct Drawing(Graph);

impl Default for Graph {
    fn default() -> Self {
        Self {
            vertices: indexmap::IndexMap::new(),
            target: None,
        }
    }
}

impl Drawing {
    pub(super) fn source(&mut self, identifier: &str) -> Edge {
        let source = pb::SourceOp {
            identifier: identifier.to_owned(),
            ..pb::SourceOp::default()
        };
        self.vertex(identifier, pb::op::Op::Source(source), &[], 1, |_| {})
    }

    /// A run on a root, with proxies that change the vertex and not its key.
    pub(super) fn run(&mut self, name: &str, proxy: &str, root: &Edge) -> Edge {
        self.changed_run(name, proxy, root, 1, |_| {})
    }

    pub(super) fn changed_run(
        &mut self,
        name: &str,
        proxy: &str,
        root: &Edge,
        outputs: u32,
        change: impl Fn(&mut Vertex),
    ) -> Edge {
        let exec = pb::ExecOp {
            meta: Some(pb::Meta {
                args: vec![name.to_owned()],
                proxy_env: Some(pb::ProxyEnv {
                    http_proxy: proxy.to_owned(),
                    ..pb::ProxyEnv::default()
                }),
                ..pb::Meta::default()
            }),
            mounts: (0..i64::from(outputs))
                .map(|output| pb::Mount {
                    input: if output == 0 { 0 } else { -1 },
                    dest: String::from(if output == 0 { "/" } else { "/out" }),
                    output,
                    ..pb::Mount::default()
                })
                .collect(),
            ..pb::ExecOp::default()
        };
        let inputs = std::slice::from_ref(root);
        self.vertex(name, pb::op::Op::Exec(exec), inputs, outputs, change)
    }

    /// A copy of `/part` from one state onto another.
    pub(super) fn copy(&mut self, name: &str, base: &Edge, from: &Edge) -> Edge {
        let copy = pb::FileActionCopy {
            src: String::from("/part"),
            dest: format!("/{name}"),
            ..pb::FileActionCopy::default()
        };
        let action = pb::FileAction {
            input: 0,
            secondary_input: 1,
            output: 0,
            action: Some(pb::file_action::Action::Copy(copy)),
        };
        let file = pb::FileOp {
            actions: vec![action],
        };
        let inputs = [base.clone(), from.clone()];
        self.vertex(name, pb::op::Op::File(file), &inputs, 1, |_| {})
    }

    /// A build op on the state that its definition is in. Each is a vertex of its own, whatever its key.
    pub(super) fn build(&mut self, name: &str, file: &str, definition: &Edge) -> Edge {
        let build = pb::BuildOp {
            builder: -1,
            attrs: [("llbbuild.filename".to_owned(), file.to_owned())].into(),
            inputs: [(
                "buildkit.llb.definition".to_owned(),
                pb::BuildInput { input: 0 },
            )]
            .into(),
            ..pb::BuildOp::default()
        };
        let inputs = std::slice::from_ref(definition);
        self.vertex(name, pb::op::Op::Build(build), inputs, 1, |vertex| {
            vertex.digest = Digest::sha256_of(name);
        })
    }

    fn vertex(
        &mut self,
        name: &str,
        kind: pb::op::Op,
        inputs: &[Edge],
        outputs: u32,
        change: impl Fn(&mut Vertex),
    ) -> Edge {
        let wire = inputs.iter().map(|input| pb::Input {
            digest: input.vertex.as_str().to_owned(),
            index: i64::from(input.output),
        });
        let op = pb::Op {
            inputs: wire.collect(),
            op: Some(kind),
            ..pb::Op::default()
        };
        let mut vertex = Vertex {
            digest: Digest::sha256_of(prost::Message::encode_to_vec(&op)),
            op: Arc::new(op),
            inputs: inputs.to_vec(),
            outputs,
            name: name.to_owned(),
            ignore_cache: false,
            export_cache: None,
            progress_group: None,
            resources: None,
            patience: Patience::default(),
            locations: Vec::new(),
        };
        change(&mut vertex);
        let edge = Edge {
            vertex: vertex.digest.clone(),
            output: 0,
        };
        self.0
            .vertices
            .insert(edge.vertex.clone(), Arc::new(vertex));
        edge
    }

    pub(super) fn graph(self) -> Arc<Graph> {
        Arc::new(self.0)
    }
}

impl Bench {
    /// A world that has seen what another built.
    pub(super) fn after(other: Self) -> Self {
        Self {
            store: other.store,
            gone: other.gone,
            contents: other.contents,
            ..Self::default()
        }
    }

    pub(super) fn want(&mut self, job: &str, graph: &Arc<Graph>, edge: &Edge) -> u64 {
        self.ask(job, graph, edge, None)
    }

    /// A build op that runs asks for the graph that it read.
    pub(super) fn nest(&mut self, job: &str, build: &str, graph: &Arc<Graph>, edge: &Edge) -> u64 {
        let task = self.running[build];
        let limit = NESTING;
        self.ask(job, graph, edge, Some(Within { task, limit }))
    }

    fn ask(&mut self, job: &str, graph: &Arc<Graph>, edge: &Edge, within: Option<Within>) -> u64 {
        self.asked += 1;
        self.stimulate(Stimulus::Wanted {
            request: RequestId(self.asked),
            job: JobId(job.to_owned()),
            graph: Arc::clone(graph),
            edge: edge.clone(),
            scope: None,
            within,
        });
        self.asked
    }

    pub(super) fn abandon(&mut self, request: u64) {
        self.stimulate(Stimulus::Abandoned {
            request: RequestId(request),
        });
    }

    pub(super) fn close(&mut self, job: &str) {
        self.stimulate(Stimulus::JobClosed {
            job: JobId(job.to_owned()),
        });
    }

    fn unless_broken<T>(&self, answer: T) -> Result<T, Failure> {
        match self.broken {
            true => Err(Failure::new(FailureKind::Infrastructure, "the disk fails")),
            false => Ok(answer),
        }
    }

    /// Ends a run well; its results are named after the vertex.
    pub(super) fn succeed(&mut self, name: &str) {
        let outputs = if name == "two" { 2 } else { 1 };
        let result = |output| ResultId(format!("{name}.{output}"));
        self.succeed_with(name, (0..outputs).map(result).collect());
    }

    pub(super) fn succeed_with(&mut self, name: &str, results: Vec<ResultId>) {
        for result in &results {
            self.gone.remove(result);
            *self.pins.entry(result.clone()).or_default() += 1;
        }
        self.end(name, OpOutcome::Success(results));
    }

    pub(super) fn fail(&mut self, name: &str) {
        let failure = Failure::new(FailureKind::Exit { code: 1 }, format!("{name} failed"));
        self.end(name, OpOutcome::Failed(failure));
    }

    pub(super) fn end(&mut self, name: &str, outcome: OpOutcome) {
        let task = self.running.remove(name).expect("it runs");
        let done = WorkDone::Run(outcome);
        self.stimulate(Stimulus::Done { task, done });
    }

    /// Ends a run as if it had been another kind of work.
    pub(super) fn end_as_other_work(&mut self, name: &str) {
        let task = self.running.remove(name).expect("it runs");
        let done = WorkDone::Forget;
        self.stimulate(Stimulus::Done { task, done });
    }

    /// Lets everything that runs, and what that leads to, end well.
    pub(super) fn succeed_all(&mut self) {
        while let Some(name) = self.running.keys().next().cloned() {
            self.succeed(&name);
        }
    }

    pub(super) fn pinned(&self) -> Vec<&str> {
        let pinned = self.pins.iter().filter(|(_, pins)| **pins != 0);
        pinned.map(|(result, _)| result.0.as_str()).collect()
    }

    /// What a job was told of a vertex.
    pub(super) fn told(&self, job: &str, name: &str) -> Vec<&Report> {
        let reports = self.reports.iter();
        reports
            .filter(|(to, of, _)| to == job && of == name)
            .map(|(_, _, report)| report)
            .collect()
    }

    fn stimulate(&mut self, stimulus: Stimulus) {
        self.todo.extend(self.scheduler.handle(0, stimulus));
        while let Some(instruction) = self.todo.pop_front() {
            self.follow(instruction);
        }
    }

    fn follow(&mut self, instruction: Instruction) {
        match instruction {
            Instruction::Perform { task, work, .. } => self.perform(task, work),
            Instruction::Cancel { task } => {
                let name = self.running.iter().find(|(_, running)| **running == task);
                self.stopped.extend(name.map(|(name, _)| name.clone()));
            }
            Instruction::Audience { jobs, .. } => self.audiences.push(jobs),
            Instruction::Report {
                job,
                vertex,
                report,
            } => self.reports.push((job.0, vertex.name.clone(), report)),
            Instruction::Answer { request, answer } => {
                let before = self.answers.insert(request.0, answer);
                assert!(before.is_none(), "{request:?} is answered twice");
            }
            Instruction::Release { results } => {
                for result in results {
                    *self.pins.entry(result).or_default() -= 1;
                }
            }
        }
    }

    fn perform(&mut self, task: TaskId, work: Work) {
        let done = match work {
            Work::Run { vertex, .. } => {
                self.begun.push(vertex.name.clone());
                self.limits.push(vertex.resources.clone());
                let before = self.running.insert(vertex.name.clone(), task);
                assert!(before.is_none(), "{} runs twice at a time", vertex.name);
                return;
            }
            Work::SourceKey { vertex, index, .. } => {
                self.resolved.push(format!("{} {index}", vertex.name));
                WorkDone::SourceKey(self.source_key(&vertex.name, index))
            }
            Work::Lookup { query, .. } => WorkDone::Lookup(Ok(self.store.lookup_now(&query))),
            Work::Results { keys, .. } => {
                let results = keys.iter().flat_map(|key| self.store.results_now(key));
                WorkDone::Results(Ok(results.collect()))
            }
            Work::Load { result } => {
                let here = !self.gone.contains(&result);
                if here && !self.broken {
                    *self.pins.entry(result).or_default() += 1;
                }
                WorkDone::Load(self.unless_broken(here))
            }
            Work::ContentKey { result, .. } => {
                let content = self.contents.get(&result).unwrap_or(&result.0);
                let digest = Digest::sha256_of(content);
                self.digested.push(result);
                WorkDone::ContentKey(Ok(digest))
            }
            Work::Save { records } => {
                let save = |(query, result): &(_, Option<ResultId>)| {
                    self.store.save_now(query, result.as_ref())
                };
                let saved = match self.broken {
                    true => Vec::new(),
                    false => records.iter().map(save).collect(),
                };
                WorkDone::Save(self.unless_broken(saved))
            }
            Work::Forget { result } => {
                self.store.forget_now(&result);
                WorkDone::Forget
            }
        };
        let more = self.scheduler.handle(0, Stimulus::Done { task, done });
        self.todo.extend(more);
    }

    /// `name:chain` has the keys `name:chain` and then `chain`.
    fn source_key(&self, name: &str, index: u32) -> Result<SourceKey, Failure> {
        if self.unresolvable.contains(name) {
            return Err(Failure::new(
                FailureKind::NotFound,
                format!("{name} is not there"),
            ));
        }
        let key = match index {
            0 => name,
            _ => name.rsplit(':').next().unwrap_or(name),
        };
        Ok(SourceKey {
            key: key.to_owned(),
            pin: Pin::default(),
            more: index == 0 && name.starts_with("image:"),
        })
    }
}
