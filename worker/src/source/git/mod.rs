//! Repositories: `git://`, whatever git itself speaks to reach them.
//!
//! All is done by the git program, through one builder that decides its environment ([`command`]): no configuration of
//! this machine, no hooks, an allow-list of protocols, and passwords in neither arguments nor files (security.md I10).
//! A repository's objects are kept in the state folder and fetched as shallowly as the server allows; a result is a
//! checkout of one commit.

mod address;
mod authorization;
mod bundle;
mod checkout;
mod command;
mod fetch;
mod lines;
mod reference;
mod resolve;
mod signed;
mod source;
mod store;
mod wanted;

#[cfg(test)]
mod tests;

pub(crate) use source::git_material;
pub use source::{GitSettings, GitSource};
pub(super) use wanted::GitWanted;
