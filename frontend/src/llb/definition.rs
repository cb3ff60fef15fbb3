//! A graph to a definition.

use std::collections::{BTreeMap, HashMap, HashSet};

use cooper_proto::{Digest, pb};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::caps;
use super::graph::{Graph, Output, VertexId};
use super::vertex::{SourceMap, Work, ranges};
use crate::diagnostic::Lines;
use crate::platform::Platform;

/// Writes down what `output` needs, inputs first, and last an entry that points at it. The empty file system is an empty
/// definition.
///
/// `platform` is that of ops which do not say one; `source` is the file that lines belong to.
pub(crate) fn marshal(
    graph: &Graph,
    output: Option<Output>,
    platform: &Platform,
    source: Option<&SourceMap>,
) -> pb::Definition {
    let Some(output) = output.and_then(|output| graph.settled(output)) else {
        return pb::Definition::default();
    };
    let mut writer = Writer {
        graph,
        platform,
        source,
        digests: HashMap::new(),
        written: HashSet::new(),
        locations: BTreeMap::new(),
        definition: pb::Definition::default(),
    };
    writer.write_all(output.vertex);
    writer.finish(output)
}

struct Writer<'a> {
    graph: &'a Graph,
    platform: &'a Platform,
    source: Option<&'a SourceMap>,
    digests: HashMap<VertexId, String>,
    written: HashSet<String>,
    locations: BTreeMap<String, pb::Locations>,
    definition: pb::Definition,
}

impl Writer<'_> {
    /// Depth first and without recursion: a stage may have any number of steps.
    fn write_all(&mut self, root: VertexId) {
        let mut stack = vec![(root, self.inputs(root).into_iter())];
        while let Some((vertex, inputs)) = stack.last_mut() {
            let vertex = *vertex;
            match inputs.next() {
                Some(input) if self.digests.contains_key(&input) => {}
                Some(input) => stack.push((input, self.inputs(input).into_iter())),
                None => {
                    stack.pop();
                    if !self.digests.contains_key(&vertex) {
                        self.write(vertex);
                    }
                }
            }
        }
    }

    fn inputs(&self, vertex: VertexId) -> Vec<VertexId> {
        let inputs = match &self.graph.vertices[vertex.0].0 {
            Work::Source(_) => Vec::new(),
            Work::Exec(exec) => exec.inputs(),
            Work::File(file) => file.inputs(),
            Work::Merge(inputs) | Work::Given { inputs, .. } => inputs.clone(),
            Work::Alias(stands_for) => stands_for.iter().copied().collect(),
        };
        inputs
            .into_iter()
            .filter_map(|input| self.graph.settled(input))
            .map(|input| input.vertex)
            .collect()
    }

    fn write(&mut self, vertex: VertexId) {
        let (work, notes) = &self.graph.vertices[vertex.0];
        let (bytes, metadata) = match work {
            Work::Given {
                bytes, metadata, ..
            } => (
                bytes.clone(),
                metadata.as_deref().cloned().unwrap_or_default(),
            ),
            Work::Exec(exec) => (
                encode_exec(self.op(vertex), &exec.environment),
                notes.metadata(),
            ),
            _ => (encode(self.op(vertex)), notes.metadata()),
        };
        let digest = Digest::sha256_of(&bytes).to_string();
        merge(
            self.definition.metadata.entry(digest.clone()).or_default(),
            metadata,
        );
        self.locate(&digest, &notes.lines);
        if self.written.insert(digest.clone()) {
            self.definition.def.push(bytes);
        }
        self.digests.insert(vertex, digest);
    }

    fn locate(&mut self, digest: &str, lines: &[Lines]) {
        let locations = self.locations.entry(digest.to_owned()).or_default();
        locations
            .locations
            .extend(lines.iter().map(|lines| pb::Location {
                source_index: 0,
                ranges: ranges(*lines),
            }));
    }

    fn op(&self, vertex: VertexId) -> pb::Op {
        let (work, notes) = &self.graph.vertices[vertex.0];
        let mut inputs: Vec<pb::Input> = Vec::new();
        let mut input = |output: Output| self.input(&mut inputs, output);
        let platform = notes.platform.as_ref().unwrap_or(self.platform).clone();
        let (op, platform) = match work {
            Work::Source(source) => {
                let specific = ["docker-image://", "oci-layout://"]
                    .iter()
                    .any(|scheme| source.identifier.starts_with(scheme));
                (
                    pb::op::Op::Source(source.clone()),
                    specific.then_some(platform),
                )
            }
            Work::Exec(exec) => (pb::op::Op::Exec(exec.to_pb(&mut input)), Some(platform)),
            Work::File(file) => (pb::op::Op::File(file.to_pb(&mut input)), None),
            Work::Merge(outputs) => (pb::op::Op::Merge(self.merge_op(&mut inputs, outputs)), None),
            Work::Alias(_) | Work::Given { .. } => {
                unreachable!("placeholders are settled and given ops are not built")
            }
        };
        pb::Op {
            inputs,
            op: Some(op),
            platform,
            constraints: Some(pb::WorkerConstraints::default()),
        }
    }

    /// The position of an input, which is added unless it is there; -1 for the empty file system.
    fn input(&self, inputs: &mut Vec<pb::Input>, output: Output) -> i64 {
        let Some(output) = self.graph.settled(output) else {
            return -1;
        };
        let input = pb::Input {
            digest: self.digests[&output.vertex].clone(),
            index: output.index,
        };
        let at = inputs
            .iter()
            .position(|known| *known == input)
            .unwrap_or_else(|| {
                inputs.push(input);
                inputs.len() - 1
            });
        at as i64
    }

    /// A merge repeats an input that it stacks twice.
    fn merge_op(&self, inputs: &mut Vec<pb::Input>, outputs: &[Output]) -> pb::MergeOp {
        let mut merge = pb::MergeOp::default();
        for output in outputs
            .iter()
            .filter_map(|output| self.graph.settled(*output))
        {
            merge.inputs.push(pb::MergeInput {
                input: inputs.len() as i64,
            });
            inputs.push(pb::Input {
                digest: self.digests[&output.vertex].clone(),
                index: output.index,
            });
        }
        merge
    }

    fn finish(mut self, output: Output) -> pb::Definition {
        let head = pb::Op {
            inputs: vec![pb::Input {
                digest: self.digests[&output.vertex].clone(),
                index: output.index,
            }],
            ..pb::Op::default()
        };
        let bytes = head.encode_to_vec();
        let digest = Digest::sha256_of(&bytes).to_string();
        let mut needed = vec![caps::CONSTRAINTS, caps::PLATFORM];
        if self
            .definition
            .metadata
            .values()
            .any(|metadata| metadata.ignore_cache)
        {
            needed.push(caps::META_IGNORE_CACHE);
        }
        if self
            .definition
            .metadata
            .values()
            .any(|metadata| !metadata.description.is_empty())
        {
            needed.push(caps::META_DESCRIPTION);
        }
        let metadata = self.definition.metadata.entry(digest).or_default();
        metadata.caps = needed
            .into_iter()
            .map(|cap| (cap.to_owned(), true))
            .collect();
        self.definition.def.push(bytes);
        let any = self
            .locations
            .values()
            .any(|locations| !locations.locations.is_empty());
        let located = self
            .source
            .filter(|_| any)
            .map(SourceMap::info)
            .into_iter()
            .collect();
        self.definition.source = Some(pb::Source {
            locations: self.locations,
            infos: located,
        });
        self.definition
    }
}

/// The bytes of an op. Go writes the fields of a `oneof` after all others, whatever their numbers, and digests are of bytes.
fn encode(op: pb::Op) -> Vec<u8> {
    let work = pb::Op {
        op: op.op,
        ..pb::Op::default()
    };
    let rest = pb::Op { op: None, ..op };
    let mut bytes = rest.encode_to_vec();
    bytes.extend(work.encode_to_vec());
    bytes
}

/// The same for a process: its environment, which other steps share, is copied as it was written once.
fn encode_exec(op: pb::Op, environment: &[u8]) -> Vec<u8> {
    // Numbers of the fields in Op and ExecOp.
    const EXEC: u32 = 2;
    const META: u32 = 1;
    let Some(pb::op::Op::Exec(mut exec)) = op.op else {
        return encode(op);
    };
    let mut meta = exec.meta.take().unwrap_or_default();
    let arguments = pb::Meta {
        args: std::mem::take(&mut meta.args),
        ..pb::Meta::default()
    };
    let length = arguments.encoded_len() + environment.len() + meta.encoded_len();
    let mut head = Vec::new();
    begin_field(&mut head, META, length);
    let rest = pb::Op { op: None, ..op };
    let mut bytes = rest.encode_to_vec();
    begin_field(&mut bytes, EXEC, head.len() + length + exec.encoded_len());
    bytes.extend(head);
    bytes.extend(arguments.encode_to_vec());
    bytes.extend_from_slice(environment);
    bytes.extend(meta.encode_to_vec());
    bytes.extend(exec.encode_to_vec());
    bytes
}

/// Writes the tag and the length of a field whose bytes follow.
pub(crate) fn begin_field(out: &mut Vec<u8>, tag: u32, length: usize) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(length as u64, out);
}

/// Two vertices with the same bytes are one; what is said about either holds for it.
fn merge(known: &mut pb::OpMetadata, more: pb::OpMetadata) {
    known.ignore_cache |= more.ignore_cache;
    known.description.extend(more.description);
    known.caps.extend(more.caps);
    if more.export_cache.is_some() {
        known.export_cache = more.export_cache;
    }
    if more.progress_group.is_some() {
        known.progress_group = more.progress_group;
    }
    if more.linux_resources.is_some() {
        known.linux_resources = more.linux_resources;
    }
}
