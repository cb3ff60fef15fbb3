//! A definition's bytes, checked and turned into a graph that is known to be sound.

mod vertex;

pub use vertex::{Graph, Vertex};
