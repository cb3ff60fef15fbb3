//! One build, from the request to its record.

mod credentials;
mod entitlement;
mod imports;
mod job_entry;
mod outcome;
mod registry;
mod running;
mod solve;
mod spec;

pub use outcome::SolveOutcome;
pub use running::Running;
pub use spec::{Build, CacheSpec, ExporterSpec, SolveSpec};

pub(crate) use credentials::shown;
pub(crate) use entitlement::Entitlements;
pub(crate) use imports::{imports_of_options, widen_imports};
pub(crate) use job_entry::{GatewayReturn, Job};
pub(crate) use registry::{JobRegistry, Open};
pub(crate) use solve::{ask_frontend, start};
