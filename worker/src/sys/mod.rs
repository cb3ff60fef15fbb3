//! The kernel calls that no crate wraps safely: the only place in Cooper with `unsafe`.
//!
//! Each function is safe to call: what its call needs to be sound is checked by its types or by itself.

#![expect(unsafe_code, reason = "raw system calls are what this module is for")]

mod mount_attr;

pub(crate) use mount_attr::{MountAttributes, set_mount_attributes};
