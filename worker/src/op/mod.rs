//! Performing single ops.

pub mod diff;
pub mod exec;
pub mod merge;

mod chain;
