//! `cooper build`.

mod advice;
mod archive;
mod attest;
pub(super) mod cache;
mod call;
mod context;
pub(super) mod csv;
mod error;
mod fetch;
mod flags;
mod layout;
mod layout_index;
pub(super) mod output;
mod plan;
#[cfg(test)]
mod plan_tests;
pub(super) mod report;
mod run;
pub(super) mod secret;
mod several;
pub(super) mod ssh;
pub(super) mod written;

pub use cache::{CacheIndex, Caches};
pub use context::{ContextFolders, ContextPlace, DockerfilePlace, StandardInput, locate};
pub use error::UsageError;
pub use flags::BuildFlags;
pub use output::{Output, OutputContext, Target};
pub use plan::{Plan, Surroundings, plan};
pub use run::run;
pub use secret::SecretSource;
pub use ssh::SshSource;
