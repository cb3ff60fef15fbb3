//! Caches that live elsewhere, as pure data: documents of other engines to look into, and records of ours to write.
//!
//! * `origins`: how keys are made, by what stores and documents remember.
//! * `chains`: what a build knows of its keys, in the form in which caches are exchanged.
//! * `document`: those as the document `cacheconfig.v0`.
//! * `index`: such a document, checked, to be asked as a cache is.
//!
//! A document is what somebody else says. Reading one is bounded and ends: what does not fit in the limits, refers to
//! nothing or goes round in a circle is refused whole.

mod chains;
mod document;
mod index;
mod origins;

pub use chains::{ChainLink, ChainRecord, Chains, content_digest, record_digest};
pub use document::{DocumentResult, document};
pub use index::{Imported, ImportedResult, IndexError, IndexLimits};
pub use origins::{Origin, Origins};

#[cfg(test)]
mod tests;
