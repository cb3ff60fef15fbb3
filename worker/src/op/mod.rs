//! Performing single ops.

/// Merging and cutting states by their chains of layers.
pub mod chains;
pub mod exec;
