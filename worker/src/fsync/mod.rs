//! Sending and receiving directories as BuildKit's clients do (parity sheet D, fsutil packets).
//!
//! * [`Tree`]: a directory with a filter, walked in the order of the protocol.
//! * [`send`]: answers a peer that wants a tree.
//! * [`receive`]: makes a directory equal to what a peer sends, fetching only what differs.
//! * [`copy_tree`]: the same between two directories of this machine, without packets.
//!
//! The peer is not trusted: its paths are checked for order and shape and then confined to the destination.

pub mod mode;

mod added;
mod apply;
mod copy;
mod error;
mod existing;
mod folders;
mod follow;
mod listing;
mod order;
mod receiver;
mod sender;
mod stat;
mod tree;

pub use added::{Added, WithAdded};
pub use apply::{Changes, Differ, ReceiveOptions};
pub(crate) use copy::copy_content;
pub use copy::copy_tree;
pub use error::SyncError;
pub use folders::{Entries, Folders};
pub use listing::MadeToo;
pub use receiver::receive;
pub use sender::send;
pub use stat::describe;
pub use tree::Tree;

#[cfg(test)]
mod channel;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod transfer_tests;
#[cfg(test)]
mod tree_tests;
