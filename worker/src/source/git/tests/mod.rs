//! Against servers of our own on the loopback.

mod bench;
mod bundles;
mod checkouts;
mod hostile;
mod signed;
