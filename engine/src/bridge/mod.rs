//! How frontends ask the engine back while they convert.

mod build;
mod containers;
mod images;
mod nested;
mod policy;
mod references;
pub(crate) mod source_meta;
mod sources;

pub(crate) use build::BuildBridge;
pub(crate) use containers::HeldContainers;
pub(crate) use references::Reference;
