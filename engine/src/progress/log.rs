use std::collections::BTreeMap;
use std::fs::File;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use cooper_core::cachekey::MissReason;
use cooper_core::graph::Vertex;
use cooper_core::model::{Failure, FailureKind, LogStream, OpEvent, Status, Warning};
use cooper_proto::control::{self, StatusResponse};
use cooper_proto::{Digest, pb};
use indexmap::IndexMap;
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::watch;

use super::summary::BuildSummary;
use super::vertices::{Known, Sharing, State};
use super::{StatusStream, follow, frame, wire};
use crate::Clock;
use crate::explain::EvidenceBook;

/// Output is cut into pieces of this many bytes, so that a follower's memory has a bound.
const LOG_PIECE: usize = 256 << 10;

/// A frame with many vertices ends after this many bytes, and a failure's words are cut to as many.
///
/// # Units
/// Bytes.
const MANY: usize = 64 << 10;

/// What a vertex is called while it is shown.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct VertexHead {
    /// The vertex.
    pub(crate) digest: Digest,
    /// Name to show.
    pub(crate) name: String,
    /// What it stands on.
    pub(crate) inputs: Vec<Digest>,
    /// Group under which it is shown.
    pub(crate) group: Option<pb::ProgressGroup>,
}

impl From<&Vertex> for VertexHead {
    fn from(vertex: &Vertex) -> Self {
        Self {
            digest: vertex.digest.clone(),
            name: vertex.name.clone(),
            inputs: vertex.inputs.iter().map(|e| e.vertex.clone()).collect(),
            group: vertex.progress_group.clone(),
        }
    }
}

/// How far a log has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Bytes that are whole frames.
    pub(super) bytes: u64,
    /// Whether nothing follows.
    pub(super) finished: bool,
}

/// The log of one build.
#[derive(Debug)]
pub(crate) struct JobLog {
    path: PathBuf,
    clock: Clock,
    state: Mutex<State>,
    /// What cache keys are made of; locked before `state`.
    evidence: Mutex<EvidenceBook>,
    extent: watch::Sender<Extent>,
}

impl JobLog {
    /// Starts an empty log, replacing one that a former build of the same name left.
    ///
    /// # Errors
    /// `Infrastructure` when the file cannot be made.
    pub(crate) fn create(path: PathBuf, clock: Clock) -> Result<Arc<Self>, Failure> {
        let open = || -> io::Result<File> {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .open(&path)?;
            file.write_all(frame::HEADER)?;
            Ok(file)
        };
        let file = open().map_err(|error| {
            Failure::new(
                FailureKind::Infrastructure,
                format!("cannot write the progress log {}: {error}", path.display()),
            )
        })?;
        let length = frame::HEADER.len() as u64;
        Ok(Arc::new(Self {
            path,
            clock,
            evidence: Mutex::default(),
            state: Mutex::new(State {
                file,
                length,
                vertices: IndexMap::new(),
                statuses: BTreeMap::new(),
                warnings: 0,
                broken: None,
            }),
            extent: watch::Sender::new(Extent {
                bytes: length,
                finished: false,
            }),
        }))
    }

    /// Makes vertices known that may or may not be worked on.
    pub(crate) fn announce<'a>(&self, vertices: impl Iterator<Item = &'a Vertex>) {
        let mut evidence = self.evidence.lock();
        let mut state = self.state.lock();
        let news: Vec<_> = vertices
            .inspect(|vertex| evidence.meet(vertex))
            .filter(|vertex| !state.vertices.contains_key(&vertex.digest))
            .map(VertexHead::from)
            .collect();
        drop(evidence);
        if news.is_empty() {
            return;
        }
        let mut status = StatusResponse::default();
        let mut size = 0;
        for head in news {
            let wire = state.meet(head).to_wire();
            size += wire.encoded_len();
            status.vertexes.push(wire);
            if size > MANY {
                self.append(&mut state, &std::mem::take(&mut status));
                size = 0;
            }
        }
        if size > 0 {
            self.append(&mut state, &status);
        }
    }

    /// A vertex read these paths of an input.
    pub(crate) fn read(&self, vertex: &Digest, input: usize, paths: Vec<(String, Digest)>) {
        self.evidence.lock().read(vertex, input, paths);
    }

    /// Work on a vertex began, at `since_ns` when it began for another build.
    pub(crate) fn started(&self, head: &VertexHead, since_ns: Option<u64>) {
        let now = since_ns.unwrap_or_else(|| self.clock.now_ns());
        self.change(head, |known| {
            if known.completed_ns.take().is_some() {
                known.restarts += 1;
                known.started_ns = None;
            }
            known.started_ns.get_or_insert(now);
            known.cached = false;
            known.error = None;
        });
    }

    /// A vertex is done. One that never started is shown to have taken no time.
    pub(crate) fn completed(&self, head: &VertexHead, cached: bool, miss: Option<MissReason>) {
        let now = self.clock.now_ns();
        self.change(head, |known| {
            known.started_ns.get_or_insert(now);
            known.completed_ns = Some(now);
            known.cached = cached;
            known.miss = miss;
        });
    }

    /// A vertex failed.
    pub(crate) fn failed(&self, head: &VertexHead, failure: &Failure) {
        // Clients tell a cancelled vertex from a failed one by these words.
        let words = match failure.kind {
            FailureKind::Cancelled => "context canceled".to_owned(),
            _ => cut(&failure.message),
        };
        let now = self.clock.now_ns();
        self.change(head, |known| {
            known.started_ns.get_or_insert(now);
            known.completed_ns = Some(now);
            known.error = Some(words);
        });
    }

    /// A vertex was stopped before its end. One that never started is left as it is.
    pub(crate) fn cancelled(&self, head: &VertexHead) {
        let begun = self
            .state
            .lock()
            .vertices
            .get(&head.digest)
            .is_some_and(|known| known.started_ns.is_some() && known.completed_ns.is_none());
        if begun {
            self.failed(head, &Failure::new(FailureKind::Cancelled, ""));
        }
    }

    /// Takes what happened inside a vertex.
    pub(crate) fn event(&self, vertex: &Digest, event: &OpEvent) {
        match event {
            OpEvent::Status(status) => self.part(vertex, status),
            OpEvent::Log { stream, data } => self.output(vertex, *stream, data),
            OpEvent::Warning(warning) => self.warn(Some(vertex), warning),
        }
    }

    fn part(&self, vertex: &Digest, status: &Status) {
        let now = self.clock.now_ns();
        let mut state = self.state.lock();
        let part = (vertex.clone(), status.id.clone());
        let started = *state.statuses.entry(part.clone()).or_insert(now);
        if status.completed {
            state.statuses.remove(&part);
        }
        let message = control::VertexStatus {
            id: status.id.clone(),
            vertex: vertex.to_string(),
            name: status.action.clone(),
            current: i64::try_from(status.current).unwrap_or(i64::MAX),
            total: i64::try_from(status.total).unwrap_or(i64::MAX),
            timestamp: Some(wire::timestamp(now)),
            started: Some(wire::timestamp(started)),
            completed: status.completed.then(|| wire::timestamp(now)),
        };
        self.append(
            &mut state,
            &StatusResponse {
                statuses: vec![message],
                ..StatusResponse::default()
            },
        );
    }

    fn output(&self, vertex: &Digest, stream: LogStream, data: &bytes::Bytes) {
        let now = self.clock.now_ns();
        let mut state = self.state.lock();
        let mut rest = data.clone();
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(LOG_PIECE));
            let message = control::VertexLog {
                vertex: vertex.to_string(),
                timestamp: Some(wire::timestamp(now)),
                stream: wire::stream_number(stream),
                msg: piece,
            };
            self.append(
                &mut state,
                &StatusResponse {
                    logs: vec![message],
                    ..StatusResponse::default()
                },
            );
        }
    }

    /// Takes a warning, which belongs to the vertex that it names or else to `vertex`.
    pub(crate) fn warn(&self, vertex: Option<&Digest>, warning: &Warning) {
        let owner = vertex.map(ToString::to_string).unwrap_or_default();
        let mut state = self.state.lock();
        state.warnings += 1;
        self.append(
            &mut state,
            &StatusResponse {
                warnings: vec![wire::warning(warning, &owner)],
                ..StatusResponse::default()
            },
        );
    }

    /// Copies what another build's log has of a vertex's inner events and was not copied before.
    ///
    /// A vertex that two builds share runs for the first of them; this is how the second sees its output from the
    /// start. The vertex's own states are left out: they are reported to each build.
    pub(crate) fn adopt(&self, head: &VertexHead, from: &Self) {
        if std::ptr::eq(self, from) {
            return;
        }
        let Some((first, end)) = from.mentions(&head.digest) else {
            return;
        };
        let start = {
            let mut state = self.state.lock();
            let known = state.meet(head.clone());
            let start = match known.shared {
                Sharing::Apart => first,
                Sharing::Copied(byte) => byte,
                Sharing::Joined => return,
            };
            known.shared = Sharing::Copied(end);
            start
        };
        let vertex = head.digest.to_string();
        let copied = frame::scan(&from.path, start, end, |mut status| {
            status.vertexes.clear();
            status.statuses.retain(|part| part.vertex == vertex);
            status.logs.retain(|log| log.vertex == vertex);
            status.warnings.retain(|warning| warning.vertex == vertex);
            if status != StatusResponse::default() {
                self.append(&mut self.state.lock(), &status);
            }
        });
        if let Err(error) = copied {
            self.state.lock().break_off(&error);
        }
    }

    /// From now on a vertex's inner events come from the tasks that work on it; nothing is copied any more.
    pub(crate) fn join(&self, head: &VertexHead) {
        self.state.lock().meet(head.clone()).shared = Sharing::Joined;
    }

    /// Since when a vertex is being worked on.
    pub(crate) fn running_since(&self, vertex: &Digest) -> Option<u64> {
        let state = self.state.lock();
        let known = state.vertices.get(vertex)?;
        known.started_ns.filter(|_| known.completed_ns.is_none())
    }

    fn mentions(&self, vertex: &Digest) -> Option<(u64, u64)> {
        let state = self.state.lock();
        let known = state.vertices.get(vertex)?;
        Some((known.first_byte, state.length))
    }

    /// Ends the log. What comes later is dropped.
    pub(crate) fn finish(&self) {
        self.extent.send_modify(|extent| extent.finished = true);
    }

    /// Everything from the start, then what comes, until the log ends.
    pub(crate) fn follow(&self) -> StatusStream {
        follow::follow(self.path.clone(), self.extent.subscribe())
    }

    /// What the log adds up to so far.
    pub(crate) fn summary(&self) -> BuildSummary {
        let evidence = self.evidence.lock();
        let state = self.state.lock();
        BuildSummary {
            vertices: state
                .vertices
                .values()
                .map(|known| known.to_summary(evidence.of(&known.head.digest)))
                .collect(),
            warnings: state.warnings,
            log_error: state.broken.clone(),
        }
    }

    fn change(&self, head: &VertexHead, change: impl FnOnce(&mut Known)) {
        let mut state = self.state.lock();
        let known = state.meet(head.clone());
        change(known);
        let status = StatusResponse {
            vertexes: vec![known.to_wire()],
            ..StatusResponse::default()
        };
        self.append(&mut state, &status);
    }

    fn append(&self, state: &mut State, status: &StatusResponse) {
        if state.broken.is_some() || self.extent.borrow().finished {
            return;
        }
        let mut bytes = Vec::new();
        frame::encode(status, &mut bytes);
        if let Err(error) = state.file.write_all(&bytes) {
            state.break_off(&error);
            return;
        }
        state.length += bytes.len() as u64;
        let length = state.length;
        self.extent.send_modify(|extent| extent.bytes = length);
    }
}

/// Words that fit into a frame. The whole of them is in the build's own failure.
fn cut(words: &str) -> String {
    if words.len() <= MANY {
        return words.to_owned();
    }
    format!("{}… (cut)", &words[..words.floor_char_boundary(MANY)])
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
