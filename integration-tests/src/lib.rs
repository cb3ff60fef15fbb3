//! What the end-to-end tests share: a state folder with `cooper` on it, base images, and ways to look into what was
//! built, with our own tools and with others'.
//!
//! * [`sandbox`]: one `cooper` on one state folder.
//! * [`daemon`]: a `cooperd` on such a folder.
//! * [`gate`]: steps that run until a test lets them end.
//! * [`generate`]: random Dockerfiles with their contexts.
//! * [`image`]: an exported image, unpacked into plain data.
//! * [`measure`]: what a process uses.
//! * [`peers`]: other programs that build, hold or run images.
//! * [`registry`]: a registry of images on the loopback, and [`token_server`], to which it can send its clients.
//! * [`remains`]: what an engine left behind.
//! * [`soak`]: long runs of kills, cancels and faults.

pub mod daemon;
pub mod gate;
pub mod generate;
pub mod image;
pub mod measure;
pub mod peers;
pub mod registry;
pub mod remains;
pub mod sandbox;
pub mod soak;
pub mod token_server;
