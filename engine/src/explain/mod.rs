//! Why a step ran or was reused, in words.
//!
//! Cache keys are digests, and digests explain nothing. So what a key is made of is kept with the record of a build as
//! [`Evidence`]: the parts of each op by name, and the digests of the paths that a step read. [`explain`] compares the
//! evidence of two builds, step by step, and names what is different.

mod cause;
mod compare;
mod evidence;
mod matching;
mod parts;
mod text;

pub use cause::{Cause, Explanation, Files, Verdict};
pub use compare::explain;
pub use evidence::{Contents, Evidence, Part};
pub use text::to_text;

pub(crate) use evidence::EvidenceBook;

#[cfg(test)]
mod tests;
