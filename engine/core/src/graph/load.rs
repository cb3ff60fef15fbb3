//! From a definition's bytes to a checked graph.

use std::collections::HashMap;
use std::sync::Arc;

use cooper_proto::{Algorithm, Digest, pb};
use indexmap::IndexMap;
use prost::Message as _;

use super::location::SourceMap;
use super::order::{Disorder, order};
use super::{Graph, GraphError, Limits, OpError, Vertex, capability, name, patience, validate};
use crate::model::{Edge, LinuxResources};

impl Graph {
    /// Checks a definition and makes a graph of it.
    ///
    /// Total: whatever the bytes are, it ends with a graph or an error, in time and memory that grow with the size of
    /// the definition and in constant stack (no recursion over the graph, here or when the graph is dropped). An empty
    /// definition is the empty file system.
    ///
    /// # Errors
    /// When anything is not as the wire's rules say, is not known, or is more than `limits` allow.
    pub fn load(definition: &pb::Definition, limits: &Limits) -> Result<Self, GraphError> {
        let Some((terminal, ops)) = definition.def.split_last() else {
            return Ok(Self {
                vertices: IndexMap::new(),
                target: None,
            });
        };
        let bytes = definition.def.iter().map(Vec::len).sum();
        within("bytes", bytes, limits.definition_bytes)?;
        within("ops", ops.len(), limits.ops)?;
        let ops = Ops::decode(ops, limits)?;
        let target = ops.terminal(terminal)?;
        let inputs = ops.inputs(limits)?;
        let order = order(&inputs, limits.depth).map_err(|disorder| match disorder {
            Disorder::Cycle(op) => GraphError::Cycle {
                vertex: ops.entries[op].digest.clone(),
            },
            Disorder::Deep(found) => GraphError::TooMany {
                what: "ops on one way",
                found,
                limit: limits.depth,
            },
        })?;
        let vertices = ops.vertices(definition, &order, &inputs, limits)?;
        Ok(Self {
            vertices,
            target: Some(target),
        })
    }
}

/// The decoded ops of a definition, in its order.
struct Ops {
    entries: Vec<Entry>,
    /// Position of each op. Looked up only, never walked.
    positions: HashMap<Digest, usize>,
}

struct Entry {
    digest: Digest,
    op: Arc<pb::Op>,
    outputs: u32,
}

impl Ops {
    fn decode(encoded: &[Vec<u8>], limits: &Limits) -> Result<Self, GraphError> {
        let mut ops = Self {
            entries: Vec::with_capacity(encoded.len()),
            positions: HashMap::with_capacity(encoded.len()),
        };
        for (entry, bytes) in encoded.iter().enumerate() {
            let digest = Digest::sha256_of(bytes);
            if let Some(first) = ops.positions.insert(digest.clone(), entry) {
                return Err(GraphError::Duplicate {
                    vertex: digest,
                    first,
                    second: entry,
                });
            }
            let op = decode(entry, bytes)?;
            let outputs = validate::outputs_of(&op, limits).map_err(|reason| GraphError::Op {
                vertex: digest.clone(),
                reason,
            })?;
            ops.entries.push(Entry {
                digest,
                op: Arc::new(op),
                outputs,
            });
        }
        Ok(ops)
    }

    /// What the last entry asks for.
    fn terminal(&self, bytes: &[u8]) -> Result<Edge, GraphError> {
        let op = decode(self.entries.len(), bytes)?;
        let wrong = |reason| GraphError::Terminal { reason };
        if op.op.is_some() {
            return Err(wrong("it has an op"));
        }
        let [input] = op.inputs.as_slice() else {
            return Err(wrong("it has not one input"));
        };
        let (position, output) = self.resolve(0, input).map_err(|reason| GraphError::Op {
            vertex: Digest::sha256_of(bytes),
            reason,
        })?;
        Ok(Edge {
            vertex: self.entries[position].digest.clone(),
            output,
        })
    }

    /// For each op the positions of its inputs.
    fn inputs(&self, limits: &Limits) -> Result<Vec<Vec<usize>>, GraphError> {
        let edges = self.entries.iter().map(|entry| entry.op.inputs.len()).sum();
        within("inputs", edges, limits.edges)?;
        let inputs_of = |entry: &Entry| {
            let inputs = entry.op.inputs.iter().enumerate();
            let positions = inputs.map(|(input, wire)| Ok(self.resolve(input, wire)?.0));
            positions
                .collect::<Result<Vec<_>, _>>()
                .map_err(|reason| GraphError::Op {
                    vertex: entry.digest.clone(),
                    reason,
                })
        };
        self.entries.iter().map(inputs_of).collect()
    }

    /// The op behind an input and which of its outputs is meant.
    fn resolve(&self, input: usize, wire: &pb::Input) -> Result<(usize, u32), OpError> {
        let digest = match wire.digest.parse::<Digest>() {
            Ok(digest) if digest.algorithm() == Algorithm::Sha256 => digest,
            _ => {
                return Err(OpError::InputDigest {
                    input,
                    digest: wire.digest.chars().take(128).collect(),
                });
            }
        };
        let Some(&position) = self.positions.get(&digest) else {
            return Err(OpError::InputMissing { input, digest });
        };
        let outputs = self.entries[position].outputs;
        match u32::try_from(wire.index) {
            Ok(index) if index < outputs => Ok((position, index)),
            _ => Err(OpError::OutputIndex {
                input,
                index: wire.index,
                outputs,
            }),
        }
    }

    fn vertices(
        &self,
        definition: &pb::Definition,
        order: &[usize],
        inputs: &[Vec<usize>],
        limits: &Limits,
    ) -> Result<IndexMap<Digest, Arc<Vertex>>, GraphError> {
        let map = SourceMap::of(definition.source.as_ref());
        let mut vertices = IndexMap::<Digest, Arc<Vertex>>::with_capacity(order.len());
        for &position in order {
            let Entry {
                digest,
                op,
                outputs,
            } = &self.entries[position];
            let metadata = definition.metadata.get(digest.as_str());
            let refused = |reason| GraphError::Op {
                vertex: digest.clone(),
                reason,
            };
            let name_of_input = |input: usize| {
                let vertex = &self.entries[inputs[position][input]].digest;
                vertices.get(vertex).map_or("", |vertex| &vertex.name)
            };
            let name = name::of(op, metadata, limits.name_bytes, name_of_input);
            if let Some(metadata) = metadata {
                check_capabilities(metadata).map_err(refused)?;
            }
            let vertex = Vertex {
                digest: digest.clone(),
                op: Arc::clone(op),
                inputs: self.edges(op, &inputs[position]),
                outputs: *outputs,
                name,
                ignore_cache: metadata.is_some_and(|metadata| metadata.ignore_cache),
                export_cache: metadata.and_then(|metadata| Some(metadata.export_cache?.value)),
                progress_group: metadata.and_then(|metadata| metadata.progress_group.clone()),
                resources: resources_of(op, metadata).map_err(refused)?,
                patience: patience::of(op, metadata).map_err(refused)?,
                locations: map.places(digest.as_str())?,
            };
            vertices.insert(digest.clone(), Arc::new(vertex));
        }
        Ok(vertices)
    }

    fn edges(&self, op: &pb::Op, positions: &[usize]) -> Vec<Edge> {
        let edge = |(wire, position): (&pb::Input, &usize)| Edge {
            vertex: self.entries[*position].digest.clone(),
            // Checked by `resolve` to fit.
            output: u32::try_from(wire.index).unwrap_or(u32::MAX),
        };
        op.inputs.iter().zip(positions).map(edge).collect()
    }
}

fn decode(entry: usize, bytes: &[u8]) -> Result<pb::Op, GraphError> {
    pb::Op::decode(bytes).map_err(|error| GraphError::Undecodable {
        entry,
        reason: error.to_string(),
    })
}

fn within(what: &'static str, found: usize, limit: usize) -> Result<(), GraphError> {
    if found <= limit {
        Ok(())
    } else {
        Err(GraphError::TooMany { what, found, limit })
    }
}

fn check_capabilities(metadata: &pb::OpMetadata) -> Result<(), OpError> {
    match metadata
        .caps
        .keys()
        .find(|name| !capability::is_known(name))
    {
        Some(name) => Err(OpError::UnknownCapability(name.clone())),
        None => Ok(()),
    }
}

/// Limits on resources count for exec ops only, as in BuildKit.
fn resources_of(
    op: &pb::Op,
    metadata: Option<&pb::OpMetadata>,
) -> Result<Option<LinuxResources>, OpError> {
    let (Some(pb::op::Op::Exec(_)), Some(wire)) = (
        op.op.as_ref(),
        metadata.and_then(|metadata| metadata.linux_resources.as_ref()),
    ) else {
        return Ok(None);
    };
    if wire.memory < 0 || wire.memory_swap < -1 || wire.cpu_quota < -1 {
        return Err(OpError::Invalid(String::from(
            "a limit on its resources is negative",
        )));
    }
    Ok(Some(LinuxResources {
        memory: wire.memory,
        memory_swap: wire.memory_swap,
        cpu_shares: wire.cpu_shares,
        cpu_period: wire.cpu_period,
        cpu_quota: wire.cpu_quota,
        cpuset_cpus: wire.cpuset_cpus.clone(),
        cpuset_mems: wire.cpuset_mems.clone(),
    }))
}
