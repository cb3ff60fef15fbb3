//! Tree to typed instructions: flags, counts and forms of arguments are checked here, values are not expanded yet.

mod build;
mod command;
mod device;
mod extension;
pub mod flags;
mod health;
mod kinds;
pub mod mount;
mod stages;

#[cfg(test)]
mod tests;

pub use build::{build, build_trigger};
pub use command::{CommandLine, InlineFile};
pub(crate) use cooper_core::csv::fields as csv_fields;
pub use device::Device;
pub use extension::Extensions;
pub use health::Healthcheck;
pub use kinds::{
    Add, Argument, Copy, InlineSource, Instruction, Kind, Network, Paths, Run, Setting,
};
pub use stages::{GlobalArgument, Stage, Stages, description, stages};
