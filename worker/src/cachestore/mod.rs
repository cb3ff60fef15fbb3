//! Cache keys, the links between them and the results that they lead to, across restarts.

mod store;
mod sweep;
#[cfg(test)]
mod tests;

pub use store::PersistentCache;
pub(crate) use store::make_tables;
pub(crate) use sweep::{forget_results, sweep};
