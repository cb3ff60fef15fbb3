//! What the end-to-end tests share: a state folder with `cooper` on it, base images, and ways to look into what was
//! built, with our own tools and with others'.
//!
//! * [`sandbox`]: one `cooper` on one state folder.
//! * [`generate`]: random Dockerfiles with their contexts.
//! * [`image`]: an exported image, unpacked into plain data.
//! * [`peers`]: other programs that build, hold or run images.

pub mod generate;
pub mod image;
pub mod peers;
pub mod sandbox;
