//! Bytes by digest.
//!
//! An OCI image layout on disk: a blob is the file `blobs/<algorithm>/<hex>` of the state
//! folder. Bytes are hashed as they arrive in `ingest/`, and only [`Ingest::commit`] gives a
//! blob its name, so no blob has a name that we did not compute (security.md I6). A
//! [`VerifiedBlob`] is the proof of that and nothing else makes one.
//!
//! Not here: what a blob means, who needs it, where else it can be had.

mod error;
mod ingest;
mod store;
mod stream;

pub use error::ContentError;
pub use ingest::{Expected, Ingest, VerifiedBlob};
pub use store::ContentStore;
