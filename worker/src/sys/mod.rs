//! The kernel calls that no crate wraps safely: the only place in Cooper with `unsafe`.
//!
//! Each function is safe to call: what its call needs to be sound is checked by its types or by itself.

#![expect(unsafe_code, reason = "raw system calls are what this module is for")]

mod device_filter;
mod execve;
mod fork;
mod interface;
mod memory;
mod mount_attr;
mod namespace;
mod process;
mod seccomp;
mod watched;

pub(crate) use device_filter::{DeviceKind, DeviceRule, MAKE, READ, WRITE, restrict_devices};
pub(crate) use execve::execve;
pub(crate) use fork::{Fork, Namespaces, fork_into};
pub(crate) use interface::{bring_loopback_up, has_interface, remove_bridge};
pub(crate) use memory::give_back_heap;
pub use memory::{allocate_from_few_places, give_back_memory};
pub(crate) use mount_attr::{MountAttributes, set_attributes_of_tree, set_mount_attributes};
pub(crate) use namespace::{
    leave_cgroup_namespace, new_network_namespace, separate_mounts, separate_users_and_mounts,
    take_whole_mount_namespace, with_own_mounts,
};
pub(crate) use process::{
    close_all_but, exit_now, join_new_session_keyring, reset_signals, with_plain_umask,
};
pub(crate) use seccomp::{Instruction, install_filter};
pub(crate) use watched::watched;
