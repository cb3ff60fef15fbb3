//! The sessions that clients have attached.

mod registry;

pub use registry::{Attachment, SessionRegistry};
