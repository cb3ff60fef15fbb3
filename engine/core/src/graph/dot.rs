use std::collections::HashMap;
use std::fmt;

use petgraph::dot::{Config, Dot};
use petgraph::graph::DiGraph;

use super::Graph;

impl Graph {
    /// The graph in Graphviz' language: a box for each vertex, an arrow from each input to its user.
    #[must_use]
    pub fn dot(&self) -> String {
        let mut drawing = DiGraph::<Label<'_>, u32>::new();
        let mut nodes = HashMap::with_capacity(self.vertices.len());
        for (digest, vertex) in &self.vertices {
            let node = drawing.add_node(Label {
                name: &vertex.name,
                digest: digest.short(),
            });
            for input in &vertex.inputs {
                if let Some(&from) = nodes.get(&input.vertex) {
                    drawing.add_edge(from, node, input.output);
                }
            }
            nodes.insert(digest, node);
        }
        let target = self
            .target
            .as_ref()
            .and_then(|edge| nodes.get(&edge.vertex));
        let shape = |_, (node, _): (_, &Label<'_>)| {
            String::from(if Some(&node) == target {
                "shape=box, style=bold"
            } else {
                "shape=box"
            })
        };
        let dot = Dot::with_attr_getters(
            &drawing,
            &[Config::EdgeNoLabel],
            &|_, _| String::new(),
            &shape,
        );
        format!("{dot}")
    }
}

/// What a box says.
struct Label<'a> {
    name: &'a str,
    digest: &'a str,
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.name, self.digest)
    }
}
