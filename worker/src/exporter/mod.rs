//! Making something for the world out of results.

mod files;
mod local;
mod progress;
mod tar;

#[cfg(test)]
mod files_tests;

pub use local::LocalExporter;
pub use tar::TarExporter;
