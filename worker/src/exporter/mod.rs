//! What builds give to the world, one module an exporter and their common parts.

mod annotations;
mod archive;
mod attestation;
mod attributes;
mod files;
mod image;
mod image_archive;
mod image_config;
mod image_history;
mod image_layers;
mod image_push;
mod image_writer;
mod local;
mod platforms;
mod progress;
mod tar;
mod whole;

#[cfg(test)]
mod files_tests;
#[cfg(test)]
mod image_tests;

pub(crate) use attributes::{ImageAttributes, flag, invalid};
pub use image::ImageExporter;
pub use image_archive::{ArchiveExporter, Variant};
pub(crate) use image_history::time_text;
pub(crate) use image_layers::{WrittenLayer, family};
pub(crate) use image_writer::{Absent, ImageWriter, tell, unwritten};
pub use local::LocalExporter;
pub use tar::TarExporter;
pub use whole::Whole;
