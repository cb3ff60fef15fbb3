//! How frontends ask the engine back while they convert.

mod build;
mod images;
mod references;

pub(crate) use build::BuildBridge;
