use std::sync::Arc;

use cooper_core::model::OpEvent;
use cooper_core::ports::EventSink;
use cooper_proto::Digest;
use parking_lot::RwLock;

use super::JobLog;

/// Writes one vertex's events into one build's log.
#[derive(Debug)]
pub(crate) struct VertexEvents {
    /// The log.
    pub(crate) log: Arc<JobLog>,
    /// The vertex.
    pub(crate) vertex: Digest,
}

impl EventSink for VertexEvents {
    fn emit(&self, event: OpEvent) {
        self.log.event(&self.vertex, &event);
    }
}

/// The builds that see a running task's events.
#[derive(Debug)]
pub(crate) struct Audience {
    vertex: Option<Digest>,
    logs: RwLock<Vec<Arc<JobLog>>>,
}

impl Audience {
    /// An audience; events of a task without a vertex are seen by nobody.
    pub(crate) fn new(vertex: Option<Digest>, logs: Vec<Arc<JobLog>>) -> Arc<Self> {
        Arc::new(Self {
            vertex,
            logs: RwLock::new(logs),
        })
    }

    /// Changes who sees the events. `prepare` runs while no event can come in between, so that a newcomer can be
    /// given what happened so far.
    pub(crate) fn change(&self, logs: Vec<Arc<JobLog>>, prepare: impl FnOnce()) {
        let mut now = self.logs.write();
        prepare();
        *now = logs;
    }
}

impl EventSink for Audience {
    fn emit(&self, event: OpEvent) {
        let Some(vertex) = &self.vertex else { return };
        for log in self.logs.read().iter() {
            log.event(vertex, &event);
        }
    }
}
