//! Who reads from whom.

use std::collections::BTreeSet;

use super::{Conversion, Node};
use crate::convert::Stop;
use crate::diagnostic::{Fault, Lines};
use crate::expand::NoVariables;
use crate::instruction::{Instruction, Kind};

impl Conversion<'_> {
    /// Finds the nodes that instructions read from; an image that is no stage becomes a node.
    pub(super) fn link(&mut self) -> Result<(), Stop> {
        let mut at = 0;
        while at < self.nodes.len() {
            for index in 0..self.nodes[at].commands.len() {
                let instruction = self.nodes[at].commands[index].instruction.clone();
                let sources = self
                    .sources(&instruction, instruction.lines)
                    .map_err(|fault| fault.at(instruction.lines))?;
                for source in &sources {
                    self.nodes[at].deps.insert(*source, instruction.lines);
                }
                self.nodes[at].commands[index].sources = sources;
            }
            at += 1;
        }
        self.refuse_cycles()?;
        if let [only] = self.nodes.as_mut_slice() {
            only.label.clear();
        }
        Ok(())
    }

    /// The nodes that an instruction reads from.
    pub(super) fn sources(
        &mut self,
        instruction: &Instruction,
        lines: Lines,
    ) -> Result<Vec<usize>, Fault> {
        match &instruction.kind {
            Kind::Copy(copy) if !copy.from.is_empty() => {
                Ok(vec![self.copy_source(&copy.from, lines)?])
            }
            Kind::Run(run) => Ok(run
                .mounts_from
                .iter()
                .map(|from| if from.is_empty() { "scratch" } else { from })
                .map(|from| self.named_or_external(from, lines))
                .collect()),
            _ => Ok(Vec::new()),
        }
    }

    fn copy_source(&mut self, from: &str, lines: Lines) -> Result<usize, Fault> {
        let expanded = self
            .expander
            .expand(from, &NoVariables)
            .map_err(Fault::new)?;
        if expanded.text != from {
            return Err(Fault::new(
                "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround",
            ));
        }
        match from.parse::<i64>() {
            Ok(index) => usize::try_from(index)
                .ok()
                .filter(|index| *index < self.nodes.len())
                .ok_or_else(|| Fault::new(format!("invalid stage index {index}"))),
            Err(_) => Ok(self.named_or_external(from, lines)),
        }
    }

    fn named_or_external(&mut self, name: &str, lines: Lines) -> usize {
        if let Some(&at) = self.by_name.get(&name.to_lowercase()) {
            return at;
        }
        let node = Node::external(name, lines, self.paths.len());
        self.paths.push(BTreeSet::new());
        self.add_node(node)
    }

    /// Nothing can be built from itself.
    fn refuse_cycles(&self) -> Result<(), Fault> {
        let mut seen = vec![false; self.nodes.len()];
        for root in 0..self.nodes.len() {
            if seen[root] {
                continue;
            }
            seen[root] = true;
            let mut path: Vec<(usize, Vec<(usize, Lines)>)> = vec![(root, self.edges(root))];
            let mut taken: Vec<Lines> = Vec::new();
            let mut on_path = BTreeSet::from([root]);
            while let Some((at, edges)) = path.last_mut() {
                let at = *at;
                let Some((next, lines)) = edges.pop() else {
                    path.pop();
                    taken.pop();
                    on_path.remove(&at);
                    continue;
                };
                if on_path.contains(&next) {
                    let mut fault = Fault::new(format!(
                        "circular dependency detected on stage: {}",
                        self.nodes[root].label
                    ));
                    fault = fault.at(lines);
                    return Err(taken
                        .iter()
                        .rev()
                        .fold(fault, |fault, lines| fault.at(*lines)));
                }
                if !seen[next] {
                    seen[next] = true;
                    on_path.insert(next);
                    taken.push(lines);
                    path.push((next, self.edges(next)));
                }
            }
        }
        Ok(())
    }

    /// What a node reads from, the last first.
    fn edges(&self, at: usize) -> Vec<(usize, Lines)> {
        self.nodes[at]
            .deps
            .iter()
            .rev()
            .map(|(dep, lines)| (*dep, *lines))
            .collect()
    }

    /// All nodes that `target` needs, itself among them.
    pub(super) fn reachable(&self, target: usize) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut open = vec![target];
        while let Some(at) = open.pop() {
            if found.insert(at) {
                open.extend(self.nodes[at].base);
                open.extend(self.nodes[at].deps.keys());
            }
        }
        found
    }
}
