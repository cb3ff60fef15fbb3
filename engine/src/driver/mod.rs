//! Owns the scheduler and performs what it says.
//!
//! One task selects commands and applies them synchronously ([`turn`]); everything that takes time runs in tasks of
//! its own ([`tasks`], the one place that spawns) and comes back as a command. The scheduler's state is therefore
//! never seen half-changed, and a panic in a piece of work is a failure of that piece alone.

mod ask;
mod attempts;
mod imports;
mod nested;
mod origins;
mod perform;
mod permits;
mod tasks;
mod turn;

pub(crate) use ask::{Driver, DriverParts, Nested, Seat};
pub(crate) use imports::{ImportSource, Imports, ImportsReady, ReadCaches};
pub(crate) use nested::{Asker, Nest};
pub(crate) use permits::Permits;
pub(crate) use tasks::{Task, Tasks, contain};
