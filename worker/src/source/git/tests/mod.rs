//! Against servers of our own on the loopback.

mod bench;
mod checkouts;
mod hostile;
