//! Performing an `ExecOp`: a program in a container, on states and mounts, whose changes become results.

mod binds;
mod gathered;
mod held;
mod held_process;
mod outputs;
mod quote;
mod request;
mod runner;
mod sandbox;
mod secrets;
mod ssh;
mod stop;

pub use runner::{ExecOps, ExecParts};
pub(crate) use ssh::{SshSocket, serve as serve_ssh};
