use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind, LogStream, OpEvent, Pin, ResultId, SessionId};
use cooper_core::ports::{
    Cancelled, ContentKeyRequest, Events, OpOutcome, OpRequest, Sessions, SourceKey,
    SourceKeyRequest, Worker, WorkerInfo,
};
use cooper_engine::session::SessionRegistry;
use cooper_proto::{Digest, pb};
use parking_lot::Mutex;
use tokio::sync::watch;

/// What a step does when it is let go.
#[derive(Clone, Debug)]
pub(crate) enum Script {
    /// Ends with this code.
    Exit(i32),
    /// Ends with code 1 as often, and then well.
    ExitAtFirst(usize),
    /// Brings the worker down.
    Panic,
    /// Writes the value of a secret that the client has.
    TellSecret(&'static str),
}

#[derive(Default)]
struct State {
    runs: BTreeMap<String, usize>,
    held: BTreeSet<String>,
    scripts: BTreeMap<String, Script>,
    running: usize,
    most_running: usize,
    stopped: Vec<String>,
    pins: BTreeMap<ResultId, i64>,
}

/// A worker whose steps do as they are told.
pub(crate) struct FakeWorker {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    sessions: SessionRegistry,
}

pub(crate) fn platform() -> pb::Platform {
    pb::Platform {
        os: "linux".into(),
        architecture: "amd64".into(),
        ..pb::Platform::default()
    }
}

impl FakeWorker {
    pub(super) fn new(sessions: SessionRegistry) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            changed: watch::Sender::new(0),
            sessions,
        })
    }

    /// Says what a step does; without that it succeeds.
    pub(crate) fn script(&self, step: &str, script: Script) {
        self.state.lock().scripts.insert(step.to_owned(), script);
    }

    /// Keeps a step from going on once it has begun.
    pub(crate) fn hold(&self, step: &str) {
        self.state.lock().held.insert(step.to_owned());
    }

    /// Lets a held step go on.
    pub(crate) fn let_go(&self, step: &str) {
        self.change(|state| state.held.remove(step));
    }

    /// Waits until a step has begun.
    pub(crate) async fn reached(&self, step: &str) {
        self.until(|state| state.runs.contains_key(step)).await;
    }

    /// Waits until so many steps run.
    pub(crate) async fn busy(&self, steps: usize) {
        self.until(|state| state.running == steps).await;
    }

    /// How often a step ran.
    pub(crate) fn runs(&self, step: &str) -> usize {
        self.state.lock().runs.get(step).copied().unwrap_or(0)
    }

    /// How many steps ran at the same time, at most.
    pub(crate) fn most_running(&self) -> usize {
        self.state.lock().most_running
    }

    /// Steps that were stopped before their end.
    pub(crate) fn stopped(&self) -> Vec<String> {
        self.state.lock().stopped.clone()
    }

    /// Results that are still pinned.
    pub(crate) fn pinned(&self) -> Vec<ResultId> {
        let state = self.state.lock();
        let pinned = state.pins.iter().filter(|(_, pins)| **pins != 0);
        pinned.map(|(result, _)| result.clone()).collect()
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state.lock());
        self.changed.send_modify(|turn| *turn += 1);
        changed
    }

    async fn until(&self, met: impl Fn(&State) -> bool) {
        let mut changed = self.changed.subscribe();
        while !met(&self.state.lock()) {
            changed.changed().await.expect("the worker lives");
        }
    }

    async fn work(&self, request: &OpRequest, events: &Events) -> OpOutcome {
        let step = &request.name;
        say(events, &format!("{step} begins\n"));
        self.until(|state| !state.held.contains(step)).await;
        let script = self.state.lock().scripts.get(step).cloned();
        match script {
            None => {}
            Some(Script::ExitAtFirst(times)) if self.runs(step) > times => {}
            Some(Script::ExitAtFirst(_)) => {
                return OpOutcome::Failed(Failure::new(
                    FailureKind::Exit { code: 1 },
                    "exit code: 1",
                ));
            }
            Some(Script::Exit(code)) => {
                let words =
                    format!("process {step:?} did not complete successfully: exit code: {code}");
                return OpOutcome::Failed(Failure::new(FailureKind::Exit { code }, words));
            }
            Some(Script::Panic) => panic!("{step} brings the worker down"),
            Some(Script::TellSecret(id)) => match self.secret(&request.sessions, id).await {
                Ok(value) => say(events, &format!("{id} is {value}\n")),
                Err(failure) => return OpOutcome::Failed(failure),
            },
        }
        say(events, &format!("{step} ends\n"));
        let result = ResultId(format!("result of {}", request.vertex.short()));
        self.change(|state| *state.pins.entry(result.clone()).or_default() += 1);
        OpOutcome::Success(vec![result])
    }

    async fn secret(&self, sessions: &[SessionId], id: &str) -> Result<String, Failure> {
        let session = self.sessions.session(&sessions[0]).await?;
        let value = session.secret(id).await?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&value).into_owned())
    }
}

fn say(events: &Events, words: &str) {
    events.emit(OpEvent::Log {
        stream: LogStream::Stdout,
        data: Bytes::copy_from_slice(words.as_bytes()),
    });
}

#[async_trait]
impl Worker for FakeWorker {
    fn info(&self) -> WorkerInfo {
        WorkerInfo {
            id: "fake".into(),
            labels: BTreeMap::new(),
            platforms: vec![platform()],
            devices: Vec::new(),
        }
    }

    async fn source_key(
        &self,
        request: SourceKeyRequest,
        _events: Events,
    ) -> Result<SourceKey, Failure> {
        let Some(pb::op::Op::Source(source)) = &request.op.op else {
            panic!("asked for the key of an op that is no source");
        };
        Ok(SourceKey {
            key: source.identifier.clone(),
            pin: Pin::default(),
            more: false,
        })
    }

    async fn content_key(
        &self,
        request: ContentKeyRequest,
        _events: Events,
    ) -> Result<Digest, Failure> {
        Ok(Digest::sha256_of(format!("contents of {}", request.result)))
    }

    async fn run(&self, request: OpRequest, events: Events, cancelled: Cancelled) -> OpOutcome {
        struct Running<'a>(&'a FakeWorker);
        impl Drop for Running<'_> {
            fn drop(&mut self) {
                self.0.change(|state| state.running -= 1);
            }
        }
        self.change(|state| {
            *state.runs.entry(request.name.clone()).or_default() += 1;
            state.running += 1;
            state.most_running = state.most_running.max(state.running);
        });
        let _running = Running(self);
        tokio::select! {
            outcome = self.work(&request, &events) => outcome,
            () = cancelled => {
                self.change(|state| state.stopped.push(request.name.clone()));
                OpOutcome::Cancelled
            }
        }
    }

    async fn retain(&self, result: &ResultId) -> Result<bool, Failure> {
        self.change(|state| *state.pins.entry(result.clone()).or_default() += 1);
        Ok(true)
    }

    async fn release(&self, results: Vec<ResultId>) {
        self.change(|state| {
            for result in results {
                *state.pins.entry(result).or_default() -= 1;
            }
        });
    }
}
