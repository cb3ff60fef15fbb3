//! The arena of vertices.

use std::collections::HashMap;

use cooper_proto::{Digest, pb};
use prost::Message;

use super::caps;
use super::exec::Exec;
use super::file::FileActions;
use super::vertex::{Notes, Work};
use crate::diagnostic::Fault;

/// A vertex of one graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct VertexId(pub(super) usize);

/// One output of a vertex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Output {
    pub(crate) vertex: VertexId,
    pub(crate) index: i64,
}

/// All vertices of a conversion, most of which one target may not need.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    pub(super) vertices: Vec<(Work, Notes)>,
}

impl Graph {
    pub(super) fn add(&mut self, work: Work, notes: Notes) -> Output {
        self.vertices.push((work, notes));
        Output {
            vertex: VertexId(self.vertices.len() - 1),
            index: 0,
        }
    }

    /// Runs a process. Its output is the root file system after it.
    pub(crate) fn exec(&mut self, exec: Exec, mut notes: Notes) -> Output {
        exec.need(&mut notes);
        self.add(Work::Exec(Box::new(exec)), notes)
    }

    /// Changes files.
    pub(crate) fn file(&mut self, actions: FileActions, mut notes: Notes) -> Output {
        notes.caps.insert(caps::FILE_BASE);
        self.add(Work::File(actions), notes)
    }

    /// Stacks what is not empty; one such thing is its own stack.
    pub(crate) fn merge(&mut self, inputs: &[Option<Output>], mut notes: Notes) -> Option<Output> {
        let inputs: Vec<Output> = inputs.iter().copied().flatten().collect();
        if inputs.len() < 2 {
            return inputs.first().copied();
        }
        notes.caps.insert(caps::MERGE);
        Some(self.add(Work::Merge(inputs), notes))
    }

    /// Something that is decided later by [`Graph::resolve`].
    pub(crate) fn placeholder(&mut self) -> Output {
        self.add(Work::Alias(None), Notes::default())
    }

    /// Says what a placeholder stands for.
    pub(crate) fn resolve(&mut self, placeholder: Output, stands_for: Option<Output>) {
        self.vertices[placeholder.vertex.0].0 = Work::Alias(stands_for);
    }

    /// Takes in a definition of somebody else's, byte for byte. An empty one is the empty file system.
    ///
    /// # Errors
    /// Bytes that are no ops, or inputs that come before nothing.
    pub(crate) fn embed(&mut self, definition: &pb::Definition) -> Result<Option<Output>, Fault> {
        let mut known: HashMap<String, VertexId> = HashMap::new();
        let mut last = None;
        for bytes in &definition.def {
            let op = pb::Op::decode(bytes.as_slice())
                .map_err(|error| Fault::new(format!("failed to parse llb proto op: {error}")))?;
            let inputs = op
                .inputs
                .iter()
                .map(|input| {
                    let vertex = known.get(&input.digest).copied();
                    let vertex = vertex.ok_or_else(|| {
                        Fault::new(format!(
                            "the input {} of a definition is missing",
                            input.digest
                        ))
                    })?;
                    Ok(Output {
                        vertex,
                        index: input.index,
                    })
                })
                .collect::<Result<Vec<_>, Fault>>()?;
            if op.op.is_none() {
                // The last entry only points at the output.
                return Ok(inputs.first().copied());
            }
            let digest = Digest::sha256_of(bytes).to_string();
            let metadata = definition.metadata.get(&digest).cloned().map(Box::new);
            let output = self.add(
                Work::Given {
                    bytes: bytes.clone(),
                    inputs,
                    metadata,
                },
                Notes::default(),
            );
            known.insert(digest, output.vertex);
            last = Some(output);
        }
        Ok(last)
    }

    /// Follows placeholders to what they stand for.
    pub(super) fn settled(&self, mut output: Output) -> Option<Output> {
        while let Work::Alias(stands_for) = &self.vertices[output.vertex.0].0 {
            output = (*stands_for)?;
        }
        Some(output)
    }
}
