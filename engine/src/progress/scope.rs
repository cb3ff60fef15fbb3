use std::sync::Arc;

use cooper_core::model::Failure;
use cooper_core::ports::Events;
use cooper_proto::Digest;

use super::{JobLog, VertexEvents, VertexHead};

/// A piece of the engine's own work that is shown as a vertex, such as an export.
///
/// A scope that is dropped before its end is shown as cancelled.
#[derive(Debug)]
pub(crate) struct VertexScope {
    log: Arc<JobLog>,
    head: VertexHead,
    open: bool,
}

impl VertexScope {
    /// Begins a vertex. `id` tells it from others of its build and decides its digest.
    pub(crate) fn start(log: Arc<JobLog>, id: &str, name: String) -> Self {
        let head = VertexHead {
            digest: Digest::sha256_of(format!("cooper.engine.vertex:{id}")),
            name,
            inputs: Vec::new(),
            group: None,
        };
        log.started(&head, None);
        Self {
            log,
            head,
            open: true,
        }
    }

    /// Takes the events of what happens inside.
    pub(crate) fn events(&self) -> Events {
        Arc::new(VertexEvents {
            log: Arc::clone(&self.log),
            vertex: self.head.digest.clone(),
        })
    }

    /// The vertex.
    pub(crate) fn digest(&self) -> &Digest {
        &self.head.digest
    }

    /// Ends the vertex as its work ended.
    pub(crate) fn end<T>(mut self, result: &Result<T, Failure>) {
        self.open = false;
        match result {
            Ok(_) => self.log.completed(&self.head, false, None),
            Err(failure) => self.log.failed(&self.head, failure),
        }
    }
}

impl Drop for VertexScope {
    fn drop(&mut self) {
        if self.open {
            self.log.cancelled(&self.head);
        }
    }
}
