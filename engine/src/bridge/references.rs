use std::collections::BTreeMap;
use std::sync::Arc;

use cooper_core::graph::Graph;
use cooper_core::model::{Edge, Failure, FailureKind};
use cooper_core::ports::RefId;
use cooper_core::scheduler::Answer;
use cooper_proto::pb;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::driver::Imports;

/// A result that a frontend has named and that runs only when it is needed.
#[derive(Debug)]
pub(crate) struct Reference {
    /// What makes it, as it was received.
    pub(crate) definition: pb::Definition,
    pub(crate) graph: Arc<Graph>,
    /// The imported caches that may serve it.
    pub(crate) imports: Option<Imports>,
    /// The answer; who comes first asks, the rest wait, and when the first gives up the next asks.
    pub(super) result: OnceCell<Answer>,
}

impl Reference {
    /// The output that is the result; none of an empty definition.
    pub(crate) fn edge(&self) -> Option<Edge> {
        self.graph.target.clone()
    }
}

/// The results that frontends hold in one build.
#[derive(Debug, Default)]
pub(super) struct References {
    known: Mutex<BTreeMap<RefId, Arc<Reference>>>,
}

impl References {
    /// Names a result.
    ///
    /// # Errors
    /// `InvalidInput` beyond `limit` names.
    pub(super) fn add(&self, reference: Reference, limit: usize) -> Result<RefId, Failure> {
        let mut known = self.known.lock();
        if known.len() >= limit {
            return Err(Failure::new(
                FailureKind::InvalidInput,
                format!("the frontend holds {limit} results, which is all that one build may"),
            ));
        }
        let id = RefId(format!("ref-{}", known.len() + 1));
        known.insert(id.clone(), Arc::new(reference));
        Ok(id)
    }

    /// A named result.
    ///
    /// # Errors
    /// `NotFound` when the build has none of that name.
    pub(super) fn get(&self, id: &RefId) -> Result<Arc<Reference>, Failure> {
        self.known.lock().get(id).cloned().ok_or_else(|| {
            Failure::new(
                FailureKind::NotFound,
                format!("this build has no result {:?}", id.0),
            )
        })
    }
}
