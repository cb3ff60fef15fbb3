//! Work without root: a user namespace in which a plain user is root over files, mounts and networks of its own.
//!
//! A program calls [`enter()`] before it starts threads. What the namespace can name is the same for the whole process from
//! then on, and everything that differs without root asks [`Identity::of_this_process`].

mod enter;
mod error;
mod id_map;
mod identity;
mod subordinate;

pub use enter::{Entered, enter};
pub use error::EnterError;
pub use id_map::IdMap;
pub use identity::Identity;
