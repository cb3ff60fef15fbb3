//! Performing single ops.

pub mod chains;
pub mod exec;
