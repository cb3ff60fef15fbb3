//! Text to tree (features.md A1).
//!
//! [`parse()`] always answers with a tree. What is wrong with the text stands beside it as faults with line ranges; a caller
//! that wants to build refuses when there is one, a caller that wants to look can go on.
//!
//! The pieces, top-down: `parse` joins physical lines to instructions and attaches comments and heredocs; [`directive`]
//! knows the `# key=value` lines at the top; `line` splits one instruction into keyword, flags and arguments; `words`
//! splits arguments; [`heredoc`] recognises `<<NAME`; [`tree`] is what comes out.

pub mod directive;
pub mod heredoc;
mod line;
mod parse;
pub mod tree;
mod words;

#[cfg(test)]
mod tests;

pub use parse::parse;
