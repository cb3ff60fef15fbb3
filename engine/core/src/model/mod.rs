//! Ids and plain data that cross the seams between engine, worker and frontend.

mod attestation;
mod device;
mod event;
mod failure;
mod id;
mod material;
mod op;
mod patience;
mod redact;
mod resources;
mod usage;

pub use attestation::{
    ATTESTATION_INLINE_ONLY, ATTESTATION_REASON, ATTESTATION_SBOM_CORE, Attestation,
    AttestationKind, PROVENANCE_PREDICATE, SPDX_PREDICATE, Subject,
};
pub use device::{DeviceInfo, find_devices};
pub use event::{LogStream, OpEvent, Status, Warning};
pub use failure::{
    FailedOp, FailedPart, Failure, FailureDetail, FailureKind, SourceFile, SourceLocation,
    SourceRange,
};
pub use id::{CacheKeyId, Edge, JobId, RequestId, ResultId, SessionId, TaskId};
pub use material::{GitBundle, Material};
pub use op::{CacheMap, ContentSelector, InputKeyRule, LinuxResources, Pin};
pub use patience::Patience;
pub use redact::redacted;
pub use usage::{PruneRule, UsageRecord};
