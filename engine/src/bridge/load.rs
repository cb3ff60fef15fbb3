use cooper_core::graph::Graph;
use cooper_core::model::Failure;
use cooper_proto::pb;
use indexmap::IndexMap;

/// Checks a definition.
///
/// # Errors
/// `InvalidInput` when it is not sound.
pub(super) fn load(definition: &pb::Definition) -> Result<Graph, Failure> {
    if definition.def.is_empty() {
        return Ok(Graph {
            vertices: IndexMap::new(),
            target: None,
        });
    }
    Err(Failure::unsupported("loading a graph (core's graph::load)"))
}
