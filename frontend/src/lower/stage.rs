//! One stage, instruction by instruction.

use std::rc::Rc;

use super::system::is_windows;
use crate::convert::Stop;
use crate::diagnostic::{Fault, Lines};
use crate::image::{DEFAULT_PATH, History};
use crate::instruction::{Instruction, Kind};
use crate::stage::{Command, Conversion};

const COMMENT: &str = "buildkit.dockerfile.v0";

impl Conversion<'_> {
    /// Converts a stage. What it stands on and reads from is known.
    pub(crate) fn lower_stage(&mut self, at: usize) -> Result<(), Stop> {
        let lines = self.nodes[at].stage.lines;
        self.inherit(at);
        self.nodes[at].progress.done = true;
        self.begin(at).map_err(|fault| fault.at(lines))?;
        let commands = std::mem::take(&mut self.nodes[at].commands);
        let outcome = commands
            .iter()
            .try_for_each(|command| self.command(at, command));
        self.nodes[at].commands = commands;
        outcome
    }

    /// What the base's configuration means for the steps of this stage.
    fn begin(&mut self, at: usize) -> Result<(), Fault> {
        let target = self.target_platform.clone();
        let node = &mut self.nodes[at];
        let platform = node.platform.get_or_insert(target);
        // Windows knows its own PATH.
        if !is_windows(&platform.os) && !node.env.contains_key("PATH") {
            node.set_env("PATH", DEFAULT_PATH);
        }
        for (name, entry) in &*node.env.clone() {
            let value = entry.split_once('=').map_or("", |(_, value)| value);
            node.state.set(name.clone(), value);
        }
        if !self.options.hostname.is_empty() {
            node.state.hostname.clone_from(&self.options.hostname);
        }
        node.state.network = self.options.network;
        if !node.image.config.working_dir.is_empty() {
            let directory = node.image.config.working_dir.clone();
            self.set_directory(at, &directory)?;
        }
        let node = &mut self.nodes[at];
        if !node.image.config.user.is_empty() {
            node.state.user.clone_from(&node.image.config.user);
        }
        Ok(())
    }

    fn command(&mut self, at: usize, command: &Command) -> Result<(), Stop> {
        let instruction = command.instruction.clone();
        self.linter.enter(&instruction.comments);
        self.nodes[at].count.on_build = command.on_build;
        let outcome = self.instruction(at, &instruction, &command.sources);
        self.linter.leave();
        outcome.map_err(|fault| fault.at(instruction.lines).into())
    }

    fn instruction(
        &mut self,
        at: usize,
        instruction: &Rc<Instruction>,
        sources: &[usize],
    ) -> Result<(), Fault> {
        let lines = instruction.lines;
        match &instruction.kind {
            Kind::Add(add) => self.add(at, instruction, add),
            Kind::Arg(arguments) => self.arg(at, instruction, arguments),
            Kind::Cmd(command) => self.cmd(at, instruction, command),
            Kind::Copy(copy) => self.copy(at, instruction, copy, sources.first().copied()),
            Kind::Entrypoint(command) => self.entrypoint(at, instruction, command),
            Kind::Env(settings) => self.env(at, instruction, settings),
            Kind::Expose(ports) => self.expose(at, lines, ports),
            Kind::Healthcheck(check) => self.healthcheck(at, instruction, check),
            Kind::Label(settings) => self.label(at, instruction, settings),
            Kind::Maintainer(name) => {
                self.nodes[at].image.author.clone_from(name);
                self.record(at, format!("MAINTAINER {name}"), false)
            }
            Kind::Onbuild(text) => {
                self.nodes[at].image.config.on_build.push(text.clone());
                Ok(())
            }
            Kind::Run(run) => self.run_step(at, instruction, run, sources),
            Kind::Shell(shell) => {
                self.nodes[at].image.config.shell.clone_from(shell);
                self.record(at, format!("SHELL [{}]", shell.join(" ")), false)
            }
            Kind::StopSignal(signal) => self.stop_signal(at, lines, signal),
            Kind::User(user) => {
                let user = self.word(at, lines, user)?;
                let node = &mut self.nodes[at];
                node.state.user.clone_from(&user);
                node.image.config.user.clone_from(&user);
                self.record(at, format!("USER {user}"), false)
            }
            Kind::Volume(volumes) => self.volume(at, lines, volumes),
            Kind::Workdir(path) => self.workdir(at, instruction, path),
        }
    }

    /// Adds to the history.
    pub(super) fn record(
        &mut self,
        at: usize,
        created_by: String,
        layer: bool,
    ) -> Result<(), Fault> {
        let created = self.epoch.map(super::rfc3339).transpose()?;
        self.nodes[at].history.push(History {
            created,
            created_by,
            author: String::new(),
            comment: COMMENT.to_owned(),
            empty_layer: !layer,
        });
        Ok(())
    }

    /// Warns of the last such instruction, which this one makes useless.
    pub(super) fn only_once(&mut self, last: Option<Lines>, keyword: &str) {
        if let Some(lines) = last {
            let message = format!(
                "Multiple {keyword} instructions should not be used in the same stage because only the last one will be used"
            );
            self.linter.warn(
                crate::lint::Rule::MultipleInstructionsDisallowed,
                lines,
                message,
            );
        }
    }
}
