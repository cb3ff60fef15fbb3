//! The store in memory keeps the rules of its port, so that the simulation builds on something sound.

use cooper_core::ports::conformance::{MemoryStore, cache_store_suite};

#[test]
fn store_in_memory_keeps_the_rules_of_its_port() {
    futures::executor::block_on(cache_store_suite(&MemoryStore::default()));
}
