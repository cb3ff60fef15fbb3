//! What a state contains, as a digest: equal contents give equal digests on every machine, and the same as BuildKit's
//! (parity sheet B3, content hash), so that a cache made by either is warm for the other.
//!
//! # The scheme
//! * A file's digest is the sha256 of a header and its bytes. The header is version 1 of Docker's "tarsum": name (left
//!   empty), mode, owner, size, type, link target, device numbers and extended attributes, no time.
//! * A directory's digest covers its own header and, by name, the digests of what is in it.
//! * A selection of paths (by wildcard or by include and exclude patterns) is digested as the list of what it selects;
//!   a selection of just the path that was asked for is that path's digest.
//!
//! What was digested once is kept with the result ([`ContentSums`]).

mod error;
mod header;
mod listed;
mod select;
mod state;
mod sums;

pub use error::ChecksumError;
pub use state::{Checksums, Origin};
pub use sums::{ContentSums, Sums};

#[cfg(test)]
mod peer_table;
