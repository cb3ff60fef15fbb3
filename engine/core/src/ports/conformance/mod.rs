//! What every implementation of a port must do, as tests to run against it, and the simplest implementation.
//!
//! A suite is an async function that panics at the first rule that does not hold; any executor will do.

mod cache;
mod memory;
mod worker;

pub use cache::cache_store_suite;
pub use memory::MemoryStore;
pub use worker::worker_results_suite;
