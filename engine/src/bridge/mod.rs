//! How frontends ask the engine back while they convert.

mod build;
mod images;
mod references;
mod sources;

pub(crate) use build::BuildBridge;
