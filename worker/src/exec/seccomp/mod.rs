//! The system calls that a container may make.

mod program;
mod table;

pub use program::Filter;
