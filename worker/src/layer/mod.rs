//! Layers as archives: what a registry keeps and an image lists.
//!
//! [`apply()`] unpacks an archive into a directory in overlayfs's form; [`write_changes`] makes
//! the archive of a directory that took changes. The two digests of a layer are its *diff id*,
//! of the archive before compression, and the blob's, of what is stored. [`Layers`] does both
//! ways for the layers of one state folder and remembers what it made.
//!
//! Archives come from anywhere and are read by one strict parser ([`archive::ArchiveReader`]):
//! what another program could read differently is an error and is never skipped
//! (security.md I12). Links lead nowhere but inside the directory (I1).

pub mod archive;

mod apply;
mod archives;
mod changes;
mod compress;
mod compression;
mod decompress;
mod error;
mod implied;
mod keyed;
mod layers;
mod pipeline;
mod rewrite;

#[cfg(test)]
mod apply_tests;
#[cfg(test)]
mod changes_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod layers_tests;

pub use apply::{Applied, apply};
pub use archives::{Existing, LayerArchive, Wanted};
pub use changes::write_changes;
pub use compress::compress;
pub use compression::Compression;
pub use decompress::{Form, decompress};
pub use error::LayerError;
pub use layers::{FetchLayer, Layers};
use rewrite::rewrite_times;
