//! Filters of lists, in containerd's syntax: what clients send to choose workers, records of use and builds.
//!
//! A filter is a list of selectors joined by commas, all of which must hold: `type==exec.cachemount,inuse`. A list of
//! filters takes what any of them takes; an empty list takes everything.
//!
//! Pure: fields are asked of whoever has them.

mod parse;
mod select;

pub use parse::{FilterError, check_size};
pub use select::{Fields, Filters};
