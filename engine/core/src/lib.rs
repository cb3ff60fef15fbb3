//! The pure heart of Cooper: what a build graph is, when a vertex may be reused and what happens next.
//!
//! Everything here is plain data and synchronous code. There is no runtime, file system, network, clock or
//! randomness; the traits in [`ports`] name what the engine needs from the world and others implement them.
//!
//! * [`attest`]: what clients may ask for beside a result: provenance and lists of what is in it.
//! * [`csv`]: comma-separated values, as options use them.
//! * [`filters`]: how clients choose records, in containerd's syntax.
//! * [`model`]: ids and plain data that cross every seam.
//! * [`patterns`]: ignore patterns and wildcards as Docker's clients know them.
//! * [`ports`]: the traits that the engine needs from the world.
//! * [`remotecache`]: caches that live elsewhere.
//! * [`result_platforms`]: which platforms a result is for.
//! * [`scheduler`]: a state machine from stimuli to instructions.

// The order of a hash map must not reach bytes, keys or progress.
#![deny(clippy::iter_over_hash_type)]

pub mod attest;
pub mod cachekey;
pub mod csv;
pub mod filters;
pub mod graph;
pub mod model;
pub mod patterns;
pub mod policy;
pub mod ports;
pub mod remotecache;
pub mod result_platforms;
pub mod scheduler;
