//! Single blobs as files: `docker-image+blob://` and `oci-layout+blob://`, and the bundles of `git://`.
//!
//! Whoever has a blob is not believed: the bytes are hashed as they come, and nothing is kept under a digest that they
//! do not have (security.md T-A20).

mod offers;
mod source;
mod wanted;

#[cfg(test)]
mod tests;

pub(crate) use offers::Blobs;
pub(super) use offers::nobody;
pub use source::BlobSource;
pub(crate) use source::blob_material;
pub(super) use wanted::BlobPlace;
