use std::sync::Arc;

use cooper_proto::{Digest, pb};
use indexmap::IndexMap;

use crate::model::{Edge, LinuxResources, Patience, SourceLocation};

/// A checked, acyclic graph of ops.
#[derive(Debug, Clone)]
pub struct Graph {
    /// Every vertex, inputs before the vertices that use them.
    pub vertices: IndexMap<Digest, Arc<Vertex>>,
    /// What the definition asks for; `None` for the empty definition (scratch).
    pub target: Option<Edge>,
}

/// One op of a graph.
#[derive(Debug, Clone)]
pub struct Vertex {
    /// sha256 of the op's bytes as received.
    pub digest: Digest,
    /// The op.
    pub op: Arc<pb::Op>,
    /// What it stands on, in the op's order.
    pub inputs: Vec<Edge>,
    /// How many outputs it has.
    pub outputs: u32,
    /// Name to show (`llb.customname`, else made from the op).
    pub name: String,
    /// Whether a cached result must not be used.
    pub ignore_cache: bool,
    /// Whether results may go to an exported cache; `None` leaves it to the exporter.
    pub export_cache: Option<bool>,
    /// Group under which progress is shown.
    pub progress_group: Option<pb::ProgressGroup>,
    /// Limits on the machine's resources.
    pub resources: Option<LinuxResources>,
    /// How long it may take and how often it is tried again.
    pub patience: Patience,
    /// Places in the build's source that made it.
    pub locations: Vec<SourceLocation>,
}
