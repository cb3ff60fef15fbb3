//! tar, as strictly as it can be read and as plainly as Go writes it.

mod entry;
mod error;
mod pax;
mod reader;
mod strict;
#[cfg(test)]
mod tests;
mod writer;

pub use entry::{Entry, EntryKind, SparsePart};
pub use error::ArchiveError;
pub use reader::ArchiveReader;
pub use writer::{ArchiveWriter, Header};
