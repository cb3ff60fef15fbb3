//! What the tests of the programs share.

pub(crate) mod emulator;
pub(crate) mod place;
pub(crate) mod registry;
pub(crate) mod server;
