//! A definition's bytes, checked and turned into a graph that is known to be sound.

mod vertex;

mod load;
mod validate;

mod capability;
mod dot;
mod error;
mod limits;
mod location;
mod name;
mod order;
mod patience;

pub use capability::CAPABILITIES;
pub use error::{GraphError, OpError};
pub use limits::Limits;
pub use patience::{RETRIES, TIMEOUT};
pub use vertex::{Graph, Vertex};

#[cfg(test)]
mod tests;
