//! How frontends ask the engine back while they convert.

mod build;
mod containers;
mod images;
mod references;
mod sources;

pub(crate) use build::BuildBridge;
pub(crate) use containers::HeldContainers;
