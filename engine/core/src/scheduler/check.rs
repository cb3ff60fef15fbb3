#![expect(
    clippy::iter_over_hash_type,
    reason = "whether all invariants hold does not depend on the order in which they are checked"
)]

//! What must hold between calls, whatever happened.

use std::collections::HashMap;

use super::machine::{Purpose, Scheduler};
use super::node::{ByNode, Content, Dependent, EdgeId, Node, NodeId, Output, Place, Run};
use super::state::{Level, Phase, Stage};
use crate::model::ResultId;

/// Says what is wrong unless the condition holds.
macro_rules! holds {
    ($condition:expr, $($what:tt)*) => {
        if !$condition {
            return Err(format!($($what)*));
        }
    };
}

impl Scheduler {
    /// Checks that all that is kept twice agrees.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self) -> Result<(), String> {
        let mut users = ByNode::<usize>::default();
        let mut tasks = ByNode::<usize>::default();
        let mut uses = HashMap::<&ResultId, usize>::new();
        for node in self.nodes.values() {
            for input in &node.inputs {
                *users.entry(input.node).or_default() += 1;
            }
        }
        for purpose in self.tasks.values() {
            let node = match purpose {
                Purpose::Lookup(edge) | Purpose::Results(edge) | Purpose::Load(edge, _) => {
                    edge.node
                }
                Purpose::Content(node, _, result) => {
                    *uses.entry(result).or_default() += 1;
                    *node
                }
                Purpose::SourceKey(node)
                | Purpose::Run(node)
                | Purpose::Save(node)
                | Purpose::Links(node)
                | Purpose::Forget(node) => *node,
            };
            *tasks.entry(node).or_default() += 1;
        }
        for (id, node) in &self.nodes {
            let name = &node.vertex.name;
            let count = |counts: &ByNode<usize>| counts.get(id).copied().unwrap_or(0);
            holds!(count(&users) == node.users, "{name}: users are miscounted");
            holds!(count(&tasks) == node.tasks, "{name}: tasks are miscounted");
            holds!(
                !node.jobs.is_empty() || node.users > 0 || node.tasks > 0,
                "{name}: nobody needs it"
            );
            self.check_node(*id, node)?;
            count_uses(node, &mut uses);
        }
        for (result, uses) in &uses {
            let counted = self.pins.uses(result);
            holds!(counted == *uses, "{result}: {uses} uses, {counted} counted");
        }
        holds!(
            self.pins.len() == uses.len(),
            "results are pinned and not used"
        );
        for (id, request) in &self.requests {
            let output = self
                .output(request.edge)
                .map_err(|_| format!("request {} asks for nothing", id.0))?;
            holds!(
                output.requests.contains(id),
                "request {} is forgotten",
                id.0
            );
        }
        Ok(())
    }

    fn check_node(&self, id: NodeId, node: &Node) -> Result<(), String> {
        let name = &node.vertex.name;
        let phases = || node.outputs.iter().map(|output| &output.phase);
        let fast = phases().filter(|phase| matches!(phase, Phase::Waiting(Stage::Fast)));
        holds!(fast.count() == node.waiting_fast, "{name}: waiting_fast");
        let content =
            phases().filter(|phase| matches!(phase, Phase::Waiting(Stage::Slow | Stage::Full)));
        holds!(
            content.count() == node.waiting_content,
            "{name}: waiting_content"
        );
        let asked = node
            .contents
            .iter()
            .filter(|content| matches!(content, Content::Asking(_)));
        holds!(
            asked.count() == node.contents_asked,
            "{name}: contents_asked"
        );
        for key in &node.live_keys {
            let nodes = self.live.get(key);
            holds!(
                nodes.is_some_and(|nodes| nodes.contains(&id)),
                "{name}: not found live"
            );
        }
        holds!(
            node.nested.is_empty() || matches!(node.run, Run::Running { .. }),
            "{name}: it asked for graphs and does not run"
        );
        let runs = phases().any(|phase| matches!(phase, Phase::Running));
        holds!(
            !runs || !matches!(node.run, Run::Idle),
            "{name}: should run and does not"
        );
        for (edge, output) in (0..).zip(&node.outputs) {
            let edge = EdgeId {
                node: id,
                output: edge,
            };
            self.check_output(edge, node, output)
                .map_err(|what| format!("{name}: {what}"))?;
        }
        Ok(())
    }

    fn check_output(&self, edge: EdgeId, node: &Node, output: &Output) -> Result<(), String> {
        let mut wanted = [0; 4];
        for (dependent, level) in &output.dependents {
            wanted[*level as usize] += 1;
            let user = self
                .output(dependent.edge)
                .map_err(|_| "a dependent is gone")?;
            let agrees = match dependent.place {
                Place::Input(position) => user.wants.get(position) == Some(level),
                Place::Leader => matches!(user.phase, Phase::Running),
            };
            holds!(agrees, "a dependent does not want what is on the books");
        }
        holds!(wanted == output.wanted, "wants are miscounted");
        let mut missing = 0;
        for (position, level) in output.wants.iter().enumerate() {
            let input = self
                .output(node.inputs[position])
                .map_err(|_| "an input is gone")?;
            let dependent = Dependent {
                edge,
                place: Place::Input(position),
            };
            let noted = input
                .dependents
                .get(&dependent)
                .copied()
                .unwrap_or(Level::Nothing);
            holds!(
                noted == *level,
                "an input does not know what is wanted of it"
            );
            missing += usize::from(input.level < *level);
        }
        if let Run::Following(leader) = node.run {
            let leader = EdgeId {
                node: leader,
                ..edge
            };
            let leader = self.output(leader).map_err(|_| "its leader is gone")?;
            let dependent = Dependent {
                edge,
                place: Place::Leader,
            };
            missing += usize::from(
                leader.dependents.contains_key(&dependent) && leader.level < Level::Result,
            );
        }
        holds!(
            missing == output.missing,
            "{} missing, {missing} counted",
            output.missing
        );
        let is_done = output.phase.result().is_some();
        holds!(
            is_done == (output.level == Level::Result),
            "level and state disagree"
        );
        let is_final = output.phase.is_final();
        holds!(
            !is_final || output.requests.is_empty(),
            "a request is not answered"
        );
        let waits = matches!(output.phase, Phase::Waiting(_));
        holds!(
            !waits || output.demand() > Level::Nothing,
            "it waits and nobody wants it"
        );
        Ok(())
    }
}

fn count_uses<'a>(node: &'a Node, uses: &mut HashMap<&'a ResultId, usize>) {
    let mut count = |result: &'a ResultId| *uses.entry(result).or_default() += 1;
    for output in &node.outputs {
        if let Some(result) = output.phase.result() {
            count(result);
        }
    }
    match &node.run {
        Run::Running { inputs, .. } => inputs.iter().for_each(&mut count),
        Run::Saving { results } => results.iter().flatten().for_each(&mut count),
        Run::Idle | Run::Following(_) | Run::Over => {}
    }
}
