//! Exec ops as the engine asks for them, on real states and in real containers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bench;
mod caches;
mod cancel;
mod held;
mod insecure;
mod limits;
mod mounts;
mod network;
mod process;
mod refused;
mod secrets;
mod ssh;
