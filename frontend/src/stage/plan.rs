//! A node for every stage.

use std::collections::BTreeSet;

use super::{Conversion, Node};
use crate::convert::Stop;
use crate::diagnostic::Fault;
use crate::expand::{Expanded, Variables};
use crate::instruction::{Kind, Stage};
use crate::lint::Rule;
use crate::named;
use crate::platform::{self, Platform};
use crate::suggest::nearest;

impl Conversion<'_> {
    /// Makes nodes of the stages, in order. A stage can stand on earlier ones only.
    pub(super) fn plan(&mut self, stages: Vec<Stage>) -> Result<(), Stop> {
        for (at, stage) in stages.into_iter().enumerate() {
            let lines = stage.lines;
            self.linter.enter(&stage.comments);
            let outcome = self.plan_stage(stage, at);
            self.linter.leave();
            outcome.map_err(|stop| stop.at(lines))?;
        }
        Ok(())
    }

    fn plan_stage(&mut self, mut stage: Stage, at: usize) -> Result<(), Stop> {
        let base = self
            .expander
            .expand(&stage.base, &self.globals)
            .map_err(Fault::new)?;
        self.lint_unknown(&base.unmatched, &stage);
        let mut used = base.matched;
        if base.text.is_empty() {
            return Err(
                Fault::new(format!("base name ({}) should not be blank", stage.base)).into(),
            );
        }
        let platform = self.stage_platform(&stage, &mut used)?;
        let instructions = std::mem::take(&mut stage.instructions);
        let mut node = Node::new(stage, self.paths.len());
        self.paths.push(BTreeSet::new());
        node.base_name = base.text;
        node.platform = platform;
        if !node.stage.name.is_empty() {
            let wanted = node.platform.as_ref().or(self.wanted_platform());
            node.named = named::find(self.options, &node.stage.name, wanted, &self.input.host)?;
        }
        if node.stage.name.is_empty() {
            node.label = format!("stage-{at}");
        }
        node.commands = instructions.into_iter().map(plain_command).collect();
        if node.named.is_none() {
            node.base = self.by_name.get(&node.base_name).copied();
            node.ignore_cache = self.options.ignores_cache(&node.stage.name);
            node.count.total = usize::from(node.base_name != "scratch" && node.base.is_none())
                + node
                    .commands
                    .iter()
                    .filter(|command| makes_layer(&command.instruction.kind))
                    .count();
        }
        if let (Some(noted), None) = (&self.noted, &node.named) {
            node.noted = match node.base {
                Some(base) => self.nodes[base].noted.clone(),
                None => noted.clone(),
            };
            node.noted.use_all(&used);
        }
        self.add_node(node);
        Ok(())
    }

    /// The platform that the client asked for.
    pub(super) fn wanted_platform(&self) -> Option<&Platform> {
        self.explicit_target.then_some(&self.target_platform)
    }

    /// Adds a node and makes its name known; a later stage of the same name hides an earlier one.
    pub(super) fn add_node(&mut self, node: Node) -> usize {
        let at = self.nodes.len();
        if !node.stage.name.is_empty() {
            self.by_name.insert(node.stage.name.clone(), at);
        }
        self.nodes.push(node);
        at
    }

    fn stage_platform(
        &mut self,
        stage: &Stage,
        used: &mut BTreeSet<String>,
    ) -> Result<Option<Platform>, Fault> {
        if stage.platform.is_empty() {
            return Ok(None);
        }
        let found = self
            .expander
            .expand(&stage.platform, &self.globals)
            .map_err(|error| {
                Fault::new(error).within("failed to process arguments for platform")
            })?;
        self.lint_unknown(&found.unmatched, stage);
        self.lint_platform(stage, &found);
        let suggest = |fault: Fault| match found.unmatched.first() {
            Some(name) => fault.suggest(name, self.globals.names()),
            None => fault,
        };
        if found.text.is_empty() {
            return Err(suggest(Fault::new(format!(
                "empty platform value from expression {}",
                stage.platform
            ))));
        }
        match platform::parse(&found.text, &self.input.host) {
            Ok(platform) => {
                used.extend(found.matched);
                Ok(Some(platform))
            }
            Err(error) => Err(suggest(Fault::new(format!(
                "failed to parse platform {}: {error}",
                stage.platform
            )))),
        }
    }

    fn lint_unknown(&mut self, unmatched: &BTreeSet<String>, stage: &Stage) {
        for name in unmatched
            .iter()
            .filter(|name| !self.declared.contains(*name))
        {
            let known = self
                .declared
                .iter()
                .map(String::as_str)
                .chain(self.globals.names());
            let mut message = format!("FROM argument '{name}' is not declared");
            if let Some(near) = nearest(name, known) {
                message.push_str(&format!(" (did you mean {near}?)"));
            }
            self.linter
                .warn(Rule::UndefinedArgInFrom, stage.lines, message);
        }
    }

    fn lint_platform(&mut self, stage: &Stage, found: &Expanded) {
        let only_target = found.unmatched.is_empty()
            && found.matched.len() == 1
            && found.matched.contains("TARGETPLATFORM");
        if only_target && self.globals.get("TARGETPLATFORM") == Some(&found.text) {
            let message = format!(
                "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
                stage.platform
            );
            self.linter
                .warn(Rule::RedundantTargetPlatform, stage.lines, message);
        }
        if !found.matched.is_empty() || !found.unmatched.is_empty() {
            return;
        }
        let Ok(platform) = platform::parse(&found.text, &self.input.host) else {
            return;
        };
        if !stage.name.contains(&platform.os) && !stage.name.contains(&platform.architecture) {
            let message = format!(
                "FROM --platform flag should not use constant value \"{}\"",
                found.text
            );
            self.linter
                .warn(Rule::FromPlatformFlagConstDisallowed, stage.lines, message);
        }
    }
}

fn plain_command(instruction: crate::instruction::Instruction) -> super::Command {
    super::Command {
        instruction: std::rc::Rc::new(instruction),
        sources: Vec::new(),
        on_build: false,
    }
}

/// Whether an instruction counts as a step.
fn makes_layer(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Add(_) | Kind::Copy(_) | Kind::Run(_) | Kind::Workdir(_)
    )
}
