//! Control groups: limits on the memory and CPU of steps, and which devices they may use.
//!
//! A step gets groups of its own only in the hierarchies that it needs: the one of version 2 for its devices, and those
//! whose controllers have a limit to keep. The groups go when the step has ended.

mod error;
mod hierarchy;
mod limits;
mod machine;
mod parents;
mod reap;
mod step;

pub use error::CgroupError;
pub use machine::{CgroupRequest, Cgroups};
pub use step::StepCgroup;
