//! Runs that take long and look for what shows only then: kills, cancels, growth, faults, damage, crowds.
//!
//! Each is a function that takes how often, and fails with what it found. `scripts/soak` runs them in full size, and
//! `tests/soak.rs` in one that fits into every change's tests.

pub mod cancel;
pub mod crash;
pub mod crowd;
pub mod damage;
pub mod faults;
pub mod growth;
pub mod workload;
