//! File ops: what `COPY`, `ADD`, `WORKDIR` and heredocs become (parity sheet B1).
//!
//! * [`run`]: a whole op, its actions in the order that their indices say.
//! * [`copy()`], [`make_directory`], [`make_file`], [`make_symlink`], [`remove`]: one action on a directory.
//!
//! Both sides of an action are attacker-influenced: the source is an image or a client's directory, and the target is
//! one that may hold links and special files. All of it goes through [`crate::confine`]; a special file is never
//! opened (security.md T-A22).
//!
//! Everything here blocks: call it where that is allowed.

mod copier;
mod copy;
mod error;
mod failure;
mod mode_change;
mod object;
mod owner;
mod path;
mod plan;
mod single;
mod unpack;

pub use copy::copy;
pub use error::FileOpError;
pub use failure::FileOpFailure;
pub use mode_change::ModeChange;
pub use plan::{Stop, run};
pub use single::{make_directory, make_file, make_symlink, remove};

#[cfg(test)]
mod copy_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod plan_tests;
#[cfg(test)]
mod single_tests;
#[cfg(test)]
mod unpack_tests;
