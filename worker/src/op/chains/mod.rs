//! Merging and cutting states by their chains of layers.
//!
//! A state is a chain of layers, and each layer says what it changes. So a merge is the chains one after the other, and
//! the difference of a state and one that it was made on is the rest of its chain: nothing is copied, and an export
//! finds archives that were made before. Two cases need a new directory, whose files are further names of those in the
//! layers that they come from:
//!
//! * an opaque directory hides all that is below it. On top of another state it would hide more than its step
//!   deleted, so the layer is spelled out: one whiteout for each name that was deleted;
//! * the difference of two states of which neither was made on the other is found by comparing them.
//!
//! Everything here blocks: call it where that is allowed.

mod compare;
mod diff;
mod error;
mod explicit;
mod merge;
mod object;

#[cfg(test)]
mod tests;

pub use diff::diff;
pub use error::ChainError;
pub use merge::merge;
