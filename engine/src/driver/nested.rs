//! Build ops: their result is that of a graph, which is in a file of one of their inputs.
//!
//! No worker runs them. Each build that wants one asks for the graph as its own, so that it is asked under the build's own
//! rules and shown in its own progress; the first that gets a result has it for all.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use cooper_core::model::{Failure, FailureKind, JobId, ResultId};
use cooper_core::ports::{OpOutcome, Worker};
use cooper_core::scheduler::Work;
use cooper_proto::pb;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;

use super::turn::TaskName;

/// A build that can be asked for graphs that its build ops name.
#[async_trait]
pub(crate) trait Nest: Send + Sync + fmt::Debug {
    /// Reads the definition that a build op names and computes what it asks for. The result stays whole until the build
    /// is closed.
    ///
    /// # Cancel
    /// Dropping the future abandons what was asked for.
    async fn nested(
        &self,
        op: &pb::BuildOp,
        inputs: &[ResultId],
        asker: Asker,
    ) -> Result<ResultId, Failure>;
}

/// Which run of a build op asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asker(pub(super) TaskName);

/// The builds that want a build op, as they come and go while it runs.
pub(super) type Wanting = Vec<(JobId, Arc<dyn Nest>)>;

/// Runs a build op.
pub(super) async fn run(
    worker: &dyn Worker,
    op: &pb::BuildOp,
    inputs: &[ResultId],
    asker: Asker,
    wanting: watch::Receiver<Wanting>,
) -> OpOutcome {
    match for_any(op, inputs, asker, wanting).await {
        Ok(result) => match worker.retain(&result).await {
            Ok(true) => OpOutcome::Success(vec![result]),
            // The build that asked may be over by now, and with it what it held.
            Ok(false) => OpOutcome::Cancelled,
            Err(failure) => OpOutcome::Fault(failure),
        },
        Err(failure) if failure.kind == FailureKind::Cancelled => OpOutcome::Cancelled,
        Err(failure) => OpOutcome::Failed(shared(worker, failure).await),
    }
}

/// Asks each build that wants the op, also those that come while others wait. Gives the first result; without one, the
/// first failure that is none of a build's end.
async fn for_any(
    op: &pb::BuildOp,
    inputs: &[ResultId],
    asker: Asker,
    mut wanting: watch::Receiver<Wanting>,
) -> Result<ResultId, Failure> {
    let mut asked = BTreeSet::new();
    let mut solving = FuturesUnordered::new();
    let mut failed: Option<Failure> = None;
    loop {
        for (job, nest) in wanting.borrow_and_update().clone() {
            if asked.insert(job) {
                solving.push(async move { nest.nested(op, inputs, asker).await });
            }
        }
        tokio::select! {
            biased;
            // Without a sender nobody comes any more.
            Ok(()) = wanting.changed() => {}
            solved = solving.next() => match solved {
                Some(Ok(result)) => return Ok(result),
                Some(Err(failure)) => match &failed {
                    Some(before) if before.kind != FailureKind::Cancelled => {}
                    Some(_) | None => failed = Some(failure),
                },
                None => return Err(failed.unwrap_or_else(nobody)),
            },
        }
    }
}

/// A failure of a nested step, as one of the op that asked for it: what the step left is let go of once for each.
async fn shared(worker: &dyn Worker, mut failure: Failure) -> Failure {
    let made = failure.op.as_ref().map(|op| op.made()).unwrap_or_default();
    let mut kept = Vec::with_capacity(made.len());
    for state in made {
        if worker.retain(&state).await != Ok(true) {
            worker.release(kept).await;
            failure.op = None;
            return failure;
        }
        kept.push(state);
    }
    failure
}

/// Whether work is the run of a build op.
pub(super) fn is_build_op(work: &Work) -> bool {
    match work {
        Work::Run { vertex, .. } => matches!(vertex.op.op, Some(pb::op::Op::Build(_))),
        Work::SourceKey { .. }
        | Work::Lookup { .. }
        | Work::Results { .. }
        | Work::Load { .. }
        | Work::ContentKey { .. }
        | Work::Save { .. }
        | Work::Forget { .. } => false,
    }
}

fn nobody() -> Failure {
    Failure::new(FailureKind::Cancelled, "nobody wants it any more")
}
