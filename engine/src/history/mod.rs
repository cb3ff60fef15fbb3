//! What was built, when, and how it ended: one file a build, kept for a while.

mod duration;
mod filter;
mod read;
mod record;
mod seal;
mod store;
mod trace;

pub use read::{ReadError, read_all};
pub use record::{
    Ending, Record, RecordedBlob, RecordedBlobs, RecordedExporter, RecordedFailure, RecordedVertex,
};

pub(crate) use filter::BuildFilters;
pub(crate) use record::code_number;
pub(crate) use store::{Change, History, Provenances};
