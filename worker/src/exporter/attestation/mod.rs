//! Statements about what is exported, in the form that in-toto has them.

mod read;

mod document;
mod files;
mod spdx;
mod statement;

pub(super) use document::{StatementWriter, WrittenStatements, any_exported};
pub(super) use files::{StatementFiles, add_statements};
