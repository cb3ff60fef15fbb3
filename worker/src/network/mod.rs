//! Networks for steps: namespaces that CNI plugins connect, made ahead and kept for the next step.
//!
//! A namespace is a descriptor; nothing of it is mounted. What plugins keep elsewhere (addresses, rules) is undone by them
//! again: when the step is over, or, after a crash, at the next start, which finds a note of each in the state folder.

mod cni;
mod error;
mod networks;
mod notes;
mod settings;

pub use error::NetworkError;
pub use networks::{NetworkLease, Networks};
pub use settings::{DnsSettings, NetworkMode, NetworkSettings};
