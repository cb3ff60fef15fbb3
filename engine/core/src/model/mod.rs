//! Ids and plain data that cross the seams between engine, worker and frontend.

mod device;
mod event;
mod failure;
mod id;
mod op;
mod redact;
mod usage;

pub use device::{DeviceInfo, find_devices};
pub use event::{LogStream, OpEvent, Status, Warning};
pub use failure::{
    FailedOp, Failure, FailureDetail, FailureKind, SourceFile, SourceLocation, SourceRange,
};
pub use id::{CacheKeyId, Edge, JobId, RequestId, ResultId, SessionId, TaskId};
pub use op::{CacheMap, ContentSelector, InputKeyRule, LinuxResources, Pin};
pub use redact::redacted;
pub use usage::{PruneRule, UsageRecord};
