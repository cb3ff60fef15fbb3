//! Cache keys of ops (parity sheet B2 and B3), and why a key found nothing.

mod miss;

pub use miss::MissReason;
