//! The wire and nothing but the wire.
//!
//! Generated types of BuildKit's protocol (made from our own .proto files; package
//! and message names, field numbers and types are BuildKit's, so that both sides
//! understand each other) and the content address that everything is named by.
//!
//! Nothing here decides anything: no graph checks, no I/O, no clocks.
//!
//! Main types: [`pb::Definition`] and [`pb::Op`] (LLB), [`Digest`].

pub mod fsutil;
pub mod pb;

mod digest;

pub use digest::{Algorithm, Digest, ParseDigestError};
