use std::time::Duration;

use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind, LogStream, OpEvent, Patience};
use cooper_core::ports::{Events, OpOutcome, OpRequest, Worker};
use tokio_util::sync::CancellationToken;

/// The code with which `timeout(1)` ends when what it ran took too long.
const TOOK_TOO_LONG: i32 = 124;

/// Has the worker perform an op as often as its patience allows, until one try does not fail. What a failed try made is let
/// go of before the next one; each begins with the op's inputs.
///
/// # Cancel
/// By `cancel`, as [`Worker::run`].
pub(super) async fn attempt(
    worker: &dyn Worker,
    request: OpRequest,
    patience: Patience,
    events: Events,
    cancel: &CancellationToken,
) -> OpOutcome {
    let mut tried = 0;
    loop {
        let one = one_try(worker, request.clone(), patience.timeout, &events, cancel).await;
        let failure = match one {
            OpOutcome::Failed(failure) if may_pass(&failure) && tried < patience.retries => failure,
            over => return over,
        };
        if cancel.is_cancelled() {
            return OpOutcome::Failed(failure);
        }
        tried += 1;
        let retries = patience.retries;
        let text = format!("{}; trying again ({tried} of {retries})\n", failure.message);
        events.emit(OpEvent::Log {
            stream: LogStream::Stderr,
            data: Bytes::from(text),
        });
        if let Some(op) = &failure.op {
            worker.release(op.made()).await;
        }
    }
}

/// Whether another try may end otherwise: a process's may, what is asked for wrongly does not.
fn may_pass(failure: &Failure) -> bool {
    matches!(failure.kind, FailureKind::Exit { .. })
}

async fn one_try(
    worker: &dyn Worker,
    request: OpRequest,
    timeout: Option<Duration>,
    events: &Events,
    cancel: &CancellationToken,
) -> OpOutcome {
    let over = cancel.child_token();
    let cancelled = Box::pin(over.clone().cancelled_owned());
    let run = worker.run(request, events.clone(), cancelled);
    let Some(timeout) = timeout else {
        return run.await;
    };
    tokio::pin!(run);
    tokio::select! {
        outcome = &mut run => return outcome,
        () = tokio::time::sleep(timeout) => over.cancel(),
    }
    match run.await {
        OpOutcome::Cancelled if !cancel.is_cancelled() => {
            let message = format!("the step did not end within {timeout:?} (RUN --timeout)");
            let code = TOOK_TOO_LONG;
            OpOutcome::Failed(Failure::new(FailureKind::Exit { code }, message))
        }
        ended => ended,
    }
}
