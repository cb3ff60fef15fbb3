//! Rules that warn (features.md A10), which of them are on, and what they found.

mod linter;
mod options;
mod rule;

pub use linter::Linter;
pub use options::Options;
pub use rule::Rule;
