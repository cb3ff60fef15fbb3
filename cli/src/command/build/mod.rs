//! `cooper build`.

mod advice;
mod archive;
mod cache;
mod call;
mod context;
mod csv;
mod error;
mod flags;
mod layout;
mod output;
mod plan;
#[cfg(test)]
mod plan_tests;
mod report;
mod run;
mod secret;
mod ssh;

pub use cache::{CacheIndex, Caches};
pub use context::{ContextFolders, StandardInput, locate};
pub use error::UsageError;
pub use flags::{BuildFlags, ProgressMode};
pub use output::{Output, OutputContext, Target};
pub use plan::{Plan, Surroundings, plan};
pub use run::run;
pub use secret::SecretSource;
pub use ssh::SshSource;
