//! Images: their documents, and the store of images that have names on this machine.
//!
//! A name points to a manifest or index in the content store; everything else follows from
//! there. [`ImageTree`] reads one platform's image strictly, whether its documents come from
//! a registry, a layout or the store.
//!
//! Not here: file-system states made of images (source), making images (exporter).

mod change;
mod failure;
mod gate;
mod import;
mod import_archive;
mod import_layout;
mod remove;
mod sniff;
mod store;
mod tree;
mod view;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use failure::{blame, content_failure, meta_failure};
pub use gate::{Gate, Hold};
pub use import::{ImportOptions, ImportSource, Imported};
pub(crate) use import_layout::{IMAGE_NAME, REF_NAME};
pub use remove::Removed;
pub use store::ImageStore;
pub use tree::{Documents, ImageTree, StoredDocuments, chain_id, choose, parse};
pub use view::{HistoryStep, ImageSummary, ImageVariant};
