//! Inheriting from a base, and what its ONBUILD asks for.

use std::rc::Rc;

use super::{Command, Conversion};
use crate::convert::Stop;
use crate::instruction::{Instruction, Kind, build_trigger};

impl Conversion<'_> {
    /// Takes over what the base stage has become. Only when the stage is converted the base is final.
    pub(crate) fn inherit(&mut self, at: usize) {
        let Some(base) = self.nodes[at].base else {
            return;
        };
        let base = &self.nodes[base];
        let mut image = base.image.clone();
        image.config.on_build.clear();
        image.history.clear();
        let state = base.state.clone();
        let platform = base.platform.clone();
        let env = base.env.clone();
        let base_image = base.base_image.clone();
        let (arguments, told) = (base.arguments.clone(), base.told.clone());
        let (paths, workdir) = (base.paths, base.seen.workdir);
        let node = &mut self.nodes[at];
        node.image = image;
        node.env = env;
        node.state = state;
        node.platform = platform;
        node.base_image = base_image;
        node.arguments = arguments;
        node.told = told;
        node.paths = paths;
        node.seen.workdir = workdir;
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
            let instruction = build_trigger(&text).map_err(|fault| fault.at(lines))?;
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
