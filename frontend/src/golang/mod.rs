//! Formats of Go's standard library that reach bytes: digests, image configs and history strings of images built by BuildKit
//! contain them, so ours have to agree.

pub(crate) mod duration;
pub(crate) mod indent;
pub(crate) mod json;
pub(crate) mod number;
pub(crate) mod path;
pub(crate) mod quote;
pub(crate) mod table;
