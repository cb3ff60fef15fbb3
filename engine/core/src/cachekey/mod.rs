//! Cache keys of ops (parity sheet B2 and B3), and why a key found nothing.
//!
//! # The scheme
//! An op's *cache digest* is the sha256 of a JSON text: the op's message and a type name (`buildkit.exec.v0` and so
//! on). The text is what BuildKit hashes, byte for byte, so that caches written by either engine serve both.
//!
//! | op | in the digest | not in it |
//! |---|---|---|
//! | exec | arguments, environment, folder, user, hosts' names, network, security, mounts, ids of secrets and ssh sockets, exit codes; the platform by its normal names | proxies, hosts' addresses, mounts' selectors, ids of caches but for a Dockerfile's default ones, limits on resources; the mounts when there is but a plain root |
//! | file | each action; the states that actions take and make, unless they are one plain chain | all but the last name of a copied path |
//! | merge, diff, passthrough, build | the message | |
//! | source | `buildkit.source.v0:` and the text that the worker resolved the source to | |
//!
//! A *key* stands for an output's state: cache digest, number of the output, and for each input one of its keys
//! with a *selector*, the digest of the paths that the op looks at. Which keys lead to which is kept by
//! [`crate::ports::CacheStore`].
//!
//! An input's state can also be named by its *content*: a digest over the paths that the op looks at. That key is
//! slow, as the input must be built first, and strong: a changed file elsewhere leaves it alone. It exists where
//! what the op does not look at cannot reach its outputs: for sources of copies, and for mounts that are read-only,
//! give no output or show all of their input, but for a root file system.

mod cache_map;
mod miss;

mod error;
mod exec;
mod file;
mod json;
mod op_json;
mod selector;
mod wire;

pub use cache_map::{cache_map, is_of_session, source_cache_map};
pub use error::KeyError;
pub use miss::MissReason;
pub use op_json::op_json;

#[cfg(test)]
mod tests;
