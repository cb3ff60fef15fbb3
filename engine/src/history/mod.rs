//! What was built, when, and how it ended: one file a build, kept for a while.

mod record;
mod store;

pub use record::{Ending, Record, RecordedExporter, RecordedFailure, RecordedVertex};

pub(crate) use record::code_number;
pub(crate) use store::{Change, History};
