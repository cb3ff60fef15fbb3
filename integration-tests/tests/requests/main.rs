//! Whatever a client sends, a daemon answers with a status and goes on serving (security specification, T-A3, T-E2).
//!
//! The calls are made from the protocol's own description, so that a field that is added is tried too.

mod bench;
mod caller;
mod calls;
mod crowd;
mod fields;
mod graphs;
mod malformed;
mod plan;
mod sessions;
