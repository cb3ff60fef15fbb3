//! The Dockerfile frontend: text to LLB and image config.
//!
//! Everything but the gateway is pure: no async, file system, network, clock or randomness. The same text and the same
//! facts give the same bytes, and those are the bytes that BuildKit's `dockerfile.v0` makes, so that caches interoperate.
//!
//! The way through, top-down: [`gateway`] answers what a conversion asks for; [`convert`] is the pure seam; [`dockerfile`]
//! makes a tree of text, [`instruction`] typed instructions and stages of the tree, `stage` links stages and finds what they
//! stand on, `lower` makes ops and an image config of instructions, `llb` writes ops down. [`expand`] replaces variables in
//! words, [`lint`] warns of what is legal but better avoided.
//!
//! What it does not do: run anything, read anything, match `.dockerignore` patterns, render excerpts of the Dockerfile.

// The order of a hash map must not reach bytes, keys or progress.
#![deny(clippy::iter_over_hash_type)]

mod context;
pub mod convert;
pub mod diagnostic;
pub mod dockerfile;
pub mod environment;
mod epoch;
pub mod expand;
pub mod facts;
pub mod gateway;
mod golang;
pub mod image;
mod include;
pub mod instruction;
pub mod lint;
mod llb;
mod lower;
mod named;
pub mod options;
pub mod platform;
pub mod practice;
pub mod source;
mod stage;
pub mod subrequest;
mod suggest;
