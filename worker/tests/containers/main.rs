//! Real containers, made of busybox-static's binary.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod chroot;
mod devices;
mod isolation;
mod sandbox;
