//! Containers that another runtime sets up, in the helper's child.
//!
//! The first program of a container: the child is the first process of a PID namespace, and has mounts of its own, in which
//! it attaches what the container is made of; the runtime works inside of both. So nothing of it is ever mounted where the
//! rest of the machine could see it, and when the child ends the kernel ends the runtime and the container and takes all
//! mounts away. A further program: the child joins both namespaces.

mod bundle;
mod command;
mod first;
mod further;
mod program;

pub(super) use first::run_first;
pub(super) use further::run_further;
