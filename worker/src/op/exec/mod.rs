//! Performing an `ExecOp`: a program in a container, on states and mounts, whose changes become results.

mod binds;
mod outputs;
mod quote;
mod request;
mod runner;
mod sandbox;
mod secrets;
mod stop;

pub use runner::ExecOps;
