//! The kernel calls that no crate wraps safely: the only place in Cooper with `unsafe`.
//!
//! Each function is safe to call: what its call needs to be sound is checked by its types or by itself.

#![expect(unsafe_code, reason = "raw system calls are what this module is for")]

mod execve;
mod fork;
mod loopback;
mod mount_attr;
mod namespace;
mod process;
mod seccomp;
mod watched;

pub(crate) use execve::execve;
pub(crate) use fork::{Fork, Namespaces, fork_into};
pub(crate) use loopback::bring_loopback_up;
pub(crate) use mount_attr::{MountAttributes, set_mount_attributes};
pub(crate) use namespace::{take_whole_mount_namespace, with_own_mounts};
pub(crate) use process::{close_all_but, exit_now, join_new_session_keyring, reset_signals};
pub(crate) use seccomp::{Instruction, install_filter};
pub(crate) use watched::watched;
