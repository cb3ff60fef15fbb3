//! Frontends that are images (`gateway.v0`, parity sheet E): a program in a container that asks back over its standard
//! input and output what other frontends ask as calls.

mod run;
mod settings;
mod source;
mod talk;

pub use settings::FrontendImages;

pub(crate) use run::solve;
