//! Inheriting from a base, and what its ONBUILD asks for.

use std::rc::Rc;

use super::{Command, Conversion};
use crate::convert::Stop;
use crate::instruction::{Extensions, Instruction, Kind, build_trigger};

impl Conversion<'_> {
    /// Takes over what the base stage has become; the last that stands on it leaves it nothing that only heirs need. Only when the stage is converted the base is final.
    pub(crate) fn inherit(&mut self, at: usize) {
        let Some(base) = self.nodes[at].base else {
            return;
        };
        let last = match self.heirs.get_mut(base) {
            Some(heirs) => {
                *heirs = heirs.saturating_sub(1);
                *heirs == 0
            }
            None => false,
        };
        let (earlier, later) = self.nodes.split_at_mut(at);
        let (base, node) = (&mut earlier[base], &mut later[0]);
        if last {
            // In a long chain each stage would keep all that those before it said.
            let history = std::mem::take(&mut base.image.history);
            node.image = std::mem::take(&mut base.image);
            base.image.history = history;
            node.env = std::mem::take(&mut base.env);
            node.arguments = std::mem::take(&mut base.arguments);
            node.told = base.told.take();
            node.state = base.state.clone();
            base.state.environment = Rc::default();
        } else {
            node.image = base.image.clone();
            node.image.history.clear();
            node.env = base.env.clone();
            node.arguments = base.arguments.clone();
            node.told = base.told.clone();
            node.state = base.state.clone();
        }
        node.image.config.on_build.clear();
        node.platform = base.platform.clone();
        node.base_image = base.base_image.clone();
        node.paths = base.paths;
        node.seen.workdir = base.seen.workdir;
    }

    /// Puts the triggers of the base in front of a stage's instructions. True if they read from something new.
    pub(super) fn trigger(&mut self, at: usize) -> Result<bool, Stop> {
        let mut triggers = std::mem::take(&mut self.nodes[at].image.config.on_build);
        let node = &self.nodes[at];
        if let Some(base) = node.base
            && !node.progress.triggered
        {
            triggers.extend(self.nodes[base].commands.iter().filter_map(|command| {
                match &command.instruction.kind {
                    Kind::Onbuild(text) => Some(text.clone()),
                    _ => None,
                }
            }));
        }
        self.nodes[at].progress.triggered |= self.nodes[at].base.is_some();
        let lines = self.nodes[at].stage.lines;
        let mut commands = Vec::with_capacity(triggers.len());
        let mut reads_more = false;
        for text in triggers {
            let instruction =
                build_trigger(&text, Extensions::default()).map_err(|fault| fault.at(lines))?;
            let instruction = Instruction {
                lines,
                ..instruction
            };
            let sources = self
                .sources(&instruction, lines)
                .map_err(|fault| fault.at(lines))?;
            reads_more |= !sources.is_empty();
            for source in &sources {
                self.nodes[at].deps.insert(*source, lines);
            }
            commands.push(Command {
                instruction: Rc::new(instruction),
                sources,
                on_build: true,
            });
        }
        let node = &mut self.nodes[at];
        node.count.total += commands.len();
        node.commands.splice(0..0, commands);
        Ok(reads_more)
    }
}
