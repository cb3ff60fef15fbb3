//! Talking to image registries: the OCI distribution specification over HTTP.
//!
//! [`Distribution`] is one worker's connections and limits. A [`Repository`] is one
//! repository seen through the credentials of one build: it resolves names to manifests,
//! reads blobs (resuming what breaks off) and pushes.
//!
//! Rules that hold for every request (security.md I9):
//! * A password or token goes to the origin (scheme, host, port) it belongs to and nowhere
//!   else. Redirects are followed by hand; one that leaves the origin carries nothing.
//! * A registry reached over https never sends us to plain http.
//! * Bytes count only once their digest was computed here.
//! * What fails for a passing reason is tried again, a bounded number of times.
//!
//! Not here: what a manifest means, where blobs are kept, parsing of configuration files.

mod auth;
mod blob;
mod bought;
mod challenge;
mod client;
mod config;
mod endpoint;
mod error;
mod manifest;
mod push;
mod retry;
mod token;
mod transport;

#[cfg(test)]
pub(crate) mod tests;

pub use auth::{Anonymous, Authority, Keychain, SessionKeychain};
pub(crate) use challenge::challenges;
pub use client::{Access, Distribution, Repository, RepositoryName};
pub use config::{DistributionConfig, KeyPair, RegistryConfig};
pub(crate) use endpoint::USER_AGENT;
pub use error::DistributionError;
pub(crate) use error::{body_text, redact};
pub use manifest::FetchedManifest;
pub use push::{BlobFile, Pushed};
pub use retry::RetryPolicy;
pub(crate) use retry::{asked_pause, is_passing};
pub(crate) use transport::{reasons, unresolved};
