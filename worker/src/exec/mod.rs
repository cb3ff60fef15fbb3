//! Running programs in containers, with our own runner.
//!
//! [`Container`] starts a copy of our own binary as a helper with one thread (`runner`), which forks into new namespaces,
//! sets the container up as an ordinary OCI `config.json` ([`Config`]) says and becomes its program. Files and mounts
//! travel as descriptors over a socket, so that no path is looked up twice and nothing is ever mounted where the rest of
//! the machine could see it.
//!
//! Another runtime (`runc`) can do the same from the same configuration: the helper prepares what it needs where nobody else
//! sees it, and starts it ([`OtherRuntime`]).
//!
//! # Life
//! The program is the first process of its PID namespace: when it ends, the kernel ends all others. It dies with the
//! helper (parent death signal); the helper kills it and ends when its socket to the engine closes. So nothing outlives
//! its container, not even when the engine is killed.

mod config;
mod container;
mod device_rules;
mod network_files;
mod other_runtime;
mod permissions;
mod program;
mod program_path;
mod protocol;
mod runner;
mod seccomp;
mod streams;
mod template;
mod user;

pub use config::{
    Capabilities, Config, ConfigMount, Device, DeviceAccess, Linux, Namespace, NamespaceKind,
    Process, ResourceLimit, Resources, RootFs, User,
};
pub use container::{
    Container, ContainerMount, ExitStatus, Output, RunError, RunnerProgram, Source,
};
pub use network_files::{ExtraHost, hosts_file, resolver_file};
pub use other_runtime::{OldRuntime, OtherRuntime, RuntimeError};
pub use permissions::Permissions;
pub use program::{Control, End, Joining, Program, Reads};
pub use runner::runner_main_if_asked;
pub use seccomp::Filter;
pub use streams::{Input, Output as OutputStream, Terminal};
pub use template::{DEFAULT_CAPABILITIES, DEFAULT_PATH, Network, Security, Template};
pub use user::{ResolvedUser, UserError, home_of, resolve_user};
