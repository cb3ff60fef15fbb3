//! What requests about sources have in common.

use cooper_core::model::{Failure, FailureKind, JobId, SessionId};
use cooper_core::ports::{Events, OpRequest, SourceKeyRequest, SourceQuery};
use cooper_proto::pb;

/// In whose name a source is asked for.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) build: Option<&'a JobId>,
    pub(super) sessions: &'a [SessionId],
    pub(super) events: &'a Events,
}

impl<'a> Asker<'a> {
    pub(super) fn of_key(request: &'a SourceKeyRequest, events: &'a Events) -> Self {
        Self {
            build: request.build.as_ref(),
            sessions: &request.sessions,
            events,
        }
    }

    pub(super) fn of_run(request: &'a OpRequest, events: &'a Events) -> Self {
        Self {
            build: request.build.as_ref(),
            sessions: &request.sessions,
            events,
        }
    }

    pub(super) fn of_query(
        query: &'a SourceQuery,
        sessions: &'a [SessionId],
        events: &'a Events,
    ) -> Self {
        Self {
            build: query.build.as_ref(),
            sessions,
            events,
        }
    }
}

/// The source that an op is.
///
/// # Errors
/// `InvalidInput` for another op.
pub(super) fn source_of(op: &pb::Op) -> Result<&pb::SourceOp, Failure> {
    match &op.op {
        Some(pb::op::Op::Source(source)) => Ok(source),
        _ => Err(Failure::new(
            FailureKind::InvalidInput,
            "the op is no source",
        )),
    }
}
