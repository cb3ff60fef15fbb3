//! The system calls that a container may make.

mod profile;
mod program;
mod table;

pub(super) use profile::profile;
pub use program::Filter;
