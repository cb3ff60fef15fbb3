//! Documents of images: descriptors, manifests, indexes, configurations.
//!
//! Reading is strict, since the documents come from registries that nobody here
//! trusts; writing is deterministic and gives the bytes that Go's `encoding/json`
//! gives for the same values, so that digests agree with what other tools make.

mod config;
mod descriptor;
mod json;
mod manifest;

pub mod media_type;

pub use config::{ContainerConfig, Healthcheck, History, ImageConfig, RootFs};
pub use descriptor::{Descriptor, Platform};
pub use json::{to_json, to_json_indented};
pub use manifest::{Document, DocumentError, Index, MAX_DOCUMENT_BYTES, Manifest};
