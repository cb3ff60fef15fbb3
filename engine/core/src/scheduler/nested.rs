//! Graphs that build ops ask for while they run.
//!
//! A build op's run waits for a result of the graph that it read. That graph is known only then, so that it may need the
//! very op that waits for it, by its name or as other work with the same cache key. Nothing here waits in a circle: each
//! node knows the build ops of the graphs that its run asked for, and a question that would close a circle is refused.

use std::collections::BTreeSet;

use super::Within;
use super::bug::Step;
use super::machine::{Purpose, Scheduler};
use super::node::{NodeId, Run};
use crate::model::{Failure, FailureKind};

impl Scheduler {
    /// Notes how deep the build ops of a graph are, and who asked for them; or says why nobody may.
    pub(super) fn nest(
        &mut self,
        within: Option<Within>,
        builds: &[NodeId],
    ) -> Step<Result<(), Failure>> {
        let Some(within) = within else {
            return self.deepen(builds, 0).map(Ok);
        };
        let Some(&Purpose::Run(asking)) = self.tasks.get(&within.task) else {
            let words = "the build op that asked is over";
            return Ok(Err(Failure::new(FailureKind::Cancelled, words)));
        };
        let node = self.node(asking)?;
        let depth = node.depth.saturating_add(1);
        if depth > within.limit {
            let limit = within.limit;
            return Ok(Err(invalid(format!(
                "definitions in files are nested more than {limit} deep"
            ))));
        }
        if self.waits_for(builds, asking) {
            let digest = &node.vertex.digest;
            return Ok(Err(invalid(format!(
                "the definition needs the build op that reads it ({digest})"
            ))));
        }
        self.deepen(builds, depth)?;
        self.node_mut(asking)?.nested.extend(builds);
        Ok(Ok(()))
    }

    fn deepen(&mut self, builds: &[NodeId], depth: usize) -> Step {
        for build in builds {
            let node = self.node_mut(*build)?;
            node.depth = node.depth.min(depth);
        }
        Ok(())
    }

    /// Whether any of these nodes waits for `node`, or would wait for it if it ran.
    pub(super) fn waits_for(&self, nodes: &[NodeId], node: NodeId) -> bool {
        let mut open = nodes.to_vec();
        let mut seen = BTreeSet::new();
        while let Some(id) = open.pop() {
            if id == node {
                return true;
            }
            // Nodes of builds that are over may be gone; nobody waits for those.
            let Some(known) = self.nodes.get(&id).filter(|_| seen.insert(id)) else {
                continue;
            };
            open.extend(&known.nested);
            if let Run::Following(leader) = known.run {
                open.push(leader);
            }
        }
        false
    }
}

fn invalid(message: String) -> Failure {
    Failure::new(FailureKind::InvalidInput, message)
}
