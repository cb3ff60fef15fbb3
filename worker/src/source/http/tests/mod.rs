//! Against a server of our own on the loopback.

mod bench;
mod files;
mod refusals;
mod signed;
