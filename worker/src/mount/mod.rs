//! Mounts that a container sees.
//!
//! A mount is made *detached*: it has a file descriptor and no place. It is attached only inside a container's own mount
//! namespace, so that the machine's own table of mounts never changes, and a killed engine leaves nothing mounted.

mod cache;
mod detached;
mod error;
mod overlay;
mod overlay_classic;
mod seed;
mod stubs;

pub use cache::{CacheLease, CacheMounts, Sharing};
pub use detached::{DetachedMount, TmpfsOptions};
pub use error::MountError;
pub use overlay::{Flush, OverlayMount, Upper};
pub use stubs::{MountStubs, StubDepth};
