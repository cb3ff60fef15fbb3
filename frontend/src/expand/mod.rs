//! Word expansion: `$name`, `${name…}`, quotes and escapes in the arguments of instructions (features.md A2).
//!
//! A word is read once, from left to right. What a variable holds is never read again, so a value cannot inject syntax.
//! Nothing here knows instructions; [`Expander`] is told which escape character counts and what to do with quotes.

mod pattern;
mod variables;
mod word;

#[cfg(test)]
mod tests;

pub use variables::{NoVariables, Overlay, Variables};
pub use word::{Expanded, Expander};
