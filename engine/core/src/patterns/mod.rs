//! The two pattern languages that builds are described in, both by Go's rules because clients rely on them.
//!
//! * [`PatternList`]: Docker's ignore patterns (`.dockerignore`, include and exclude lists; parity sheet A6).
//! * [`Wildcard`]: the plain wildcards of `COPY` and `ADD` sources (Go's `filepath.Match`).
//!
//! Paths are slash-separated and relative, as in a build context.

mod clean;
mod expression;
mod ignore_file;
mod list;
mod wildcard;

pub use clean::{clean_path, path_inside};
pub use ignore_file::parse_ignore_file;
pub use list::{ParentMatches, Pattern, PatternError, PatternList};
pub use wildcard::{Wildcard, has_wildcard};

#[cfg(test)]
mod peer_table;
