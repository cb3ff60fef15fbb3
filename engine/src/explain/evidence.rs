use std::collections::BTreeMap;

use cooper_core::graph::Vertex;
use cooper_proto::Digest;
use serde::{Deserialize, Serialize};

use super::parts;

/// Bytes of evidence that are kept of one build; what is beyond is explained less well.
const KEPT_BYTES: usize = 8 << 20;

/// What a step's cache key is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Digests of the steps that it reads, in the op's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
    /// The parts of its op.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// What it read, by the position of the input; only of inputs that are known by their content.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub contents: BTreeMap<usize, Contents>,
    /// Whether something was too large to keep.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// A part of an op.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What it is, such as `command` or `variable PATH`.
    pub name: String,
    /// Its text.
    pub value: String,
}

/// Digests by path.
pub type Contents = BTreeMap<String, String>;

/// The evidence of a build while it runs.
#[derive(Debug, Default)]
pub(crate) struct EvidenceBook {
    vertices: BTreeMap<Digest, Evidence>,
    bytes: usize,
}

impl EvidenceBook {
    /// Takes a vertex that the build knows.
    pub(crate) fn meet(&mut self, vertex: &Vertex) {
        if self.vertices.contains_key(&vertex.digest) {
            return;
        }
        let mut evidence = Evidence {
            inputs: vertex
                .inputs
                .iter()
                .map(|edge| edge.vertex.to_string())
                .collect(),
            ..Evidence::default()
        };
        let parts = parts::of(&vertex.op);
        let size: usize = parts
            .iter()
            .map(|part| part.name.len() + part.value.len())
            .sum();
        if self.fits(size) {
            evidence.parts = parts;
        } else {
            evidence.cut = true;
        }
        self.vertices.insert(vertex.digest.clone(), evidence);
    }

    /// Takes what a vertex read of an input.
    pub(crate) fn read(&mut self, vertex: &Digest, input: usize, paths: Vec<(String, Digest)>) {
        let size = paths.iter().map(|(path, _)| path.len() + 71).sum();
        let fits = self.fits(size);
        let Some(evidence) = self.vertices.get_mut(vertex) else {
            return;
        };
        if fits {
            let texts = paths
                .into_iter()
                .map(|(path, digest)| (path, digest.to_string()));
            evidence.contents.insert(input, texts.collect());
        } else {
            evidence.cut = true;
        }
    }

    fn fits(&mut self, size: usize) -> bool {
        let fits = self.bytes + size <= KEPT_BYTES;
        if fits {
            self.bytes += size;
        }
        fits
    }

    /// What is known of a vertex.
    pub(crate) fn of(&self, vertex: &Digest) -> Evidence {
        self.vertices.get(vertex).cloned().unwrap_or_default()
    }
}
