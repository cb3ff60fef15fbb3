//! Where a build's inputs come from, one module a scheme.

mod builds;
mod client_layout;
mod git;
mod http;
mod identifier;
mod image;
mod image_fetch;
mod image_key;
mod image_resolve;
mod local;
mod local_attributes;
mod local_mirror;
mod number;
mod oci_layout;

#[cfg(test)]
mod image_tests;
#[cfg(test)]
mod local_tests;

pub use git::{GitSettings, GitSource};
pub use http::HttpSource;
pub use image::ImageSource;
pub(crate) use image::layer_failure;
pub use image_fetch::ImageFetcher;
pub(crate) use image_fetch::{registry_source, repository_of};
pub use local::LocalSource;
pub(crate) use oci_layout::Layout;
