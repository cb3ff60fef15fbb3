//! Mounts that a container sees.
//!
//! A mount is made *detached*: it has a file descriptor and no place. It is attached only inside a container's own mount
//! namespace, so that the machine's own table of mounts never changes, and a killed engine leaves nothing mounted.

mod cache;
mod detached;
mod error;
mod fuse_overlay;
mod marks;
mod overlay;
mod overlay_classic;
mod seed;
mod stubs;

pub use cache::{CacheLease, CacheMounts, Sharing};
pub use detached::{DetachedMount, TmpfsOptions};
pub use error::MountError;
pub(crate) use fuse_overlay::{FuseDaemon, mount_by_fuse};
pub(crate) use marks::{is_marked_opaque, opaque_mark, redirect_mark};
pub use overlay::{Flush, OverlayMount, Upper};
pub(crate) use seed::{copy_file, copy_properties};
pub use stubs::{MountStubs, StubDepth};
