//! Paths that an image, a client or a Dockerfile can influence, resolved inside a directory and nowhere else.
//!
//! A [`Root`] holds a directory's file descriptor. Every path given to it is read as a process that has `chroot`ed
//! into that directory would read it: absolute links start at the root and `..` stops there. The kernel does the
//! resolution (`openat2` with `RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS`), and what follows acts on the file descriptor
//! that it gave back, so that nobody can swap a component between the check and the use.
//!
//! Nothing here is asynchronous: call it where blocking is allowed.

mod create;
mod error;
mod metadata;
mod mkdir;
mod node;
mod path;
mod remove;
mod resolve;
mod root;
mod walk;

#[cfg(test)]
mod hostile_tests;

pub use error::{ConfineError, Refusal};
pub use metadata::{Kind, Metadata, Owner, Time};
pub use node::Node;
pub use resolve::Last;
pub use root::Root;
pub use walk::{DirEntry, Found, Visit};
