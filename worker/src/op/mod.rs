//! Performing single ops.

pub mod exec;
