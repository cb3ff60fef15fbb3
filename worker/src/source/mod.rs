//! Where a build's inputs come from, one module a scheme.

mod blob;
mod builds;
mod client_layout;
mod git;
mod http;
mod identifier;
mod image;
mod image_fetch;
mod image_key;
mod image_resolve;
mod image_statements;
mod landing;
mod local;
mod local_attributes;
mod local_mirror;
mod number;
mod oci_layout;
mod request;
#[doc(hidden)]
pub mod untrusted;

#[cfg(test)]
mod image_tests;
#[cfg(test)]
mod local_tests;

pub use blob::BlobSource;
pub(crate) use blob::Blobs;
pub(crate) use blob::blob_material;
pub(crate) use git::git_material;
pub use git::{GitSettings, GitSource};
pub use http::HttpSource;
pub(crate) use http::http_material;
pub use image::ImageSource;
pub(crate) use image::{image_material, layer_failure};
pub use image_fetch::ImageFetcher;
pub(crate) use image_fetch::{registry_source, repository_of};
pub use local::LocalSource;
pub(crate) use oci_layout::Layout;
