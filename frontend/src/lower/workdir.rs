//! WORKDIR.

use cooper_proto::pb;

use super::name::shown;
use super::system::{native, portable};
use crate::diagnostic::Fault;
use crate::golang::path::{is_absolute, join};
use crate::instruction::Instruction;
use crate::lint::Rule;
use crate::llb::{Action, FileActions, Notes, owner};
use crate::stage::Conversion;

impl Conversion<'_> {
    /// Changes the folder without a step. An absolute path stays as it is written.
    ///
    /// # Errors
    /// A path that images of the system cannot have.
    pub(super) fn set_directory(&mut self, at: usize, path: &str) -> Result<(), Fault> {
        let node = &mut self.nodes[at];
        let os = node.platform.as_ref().map_or("", |platform| &platform.os);
        let path = portable(path, os)?;
        let directory = if is_absolute(&path) {
            path
        } else {
            let current = portable(&node.image.config.working_dir, os)?;
            join(&["/", &current, &path])
        };
        node.image.config.working_dir = native(&directory, os);
        node.state.directory = directory;
        Ok(())
    }

    pub(super) fn workdir(
        &mut self,
        at: usize,
        instruction: &Instruction,
        path: &str,
    ) -> Result<(), Fault> {
        let path = self.word(at, instruction.lines, path)?;
        let os = self.nodes[at].platform.as_ref().map_or("", |p| &p.os);
        let absolute = is_absolute(&portable(&path, os)?);
        if !self.nodes[at].seen.workdir && !absolute {
            let message = format!(
                "Relative workdir {} can have unexpected results if the base image changes",
                crate::golang::quote::quote(&path)
            );
            self.linter
                .warn(Rule::WorkdirRelativePath, instruction.lines, message);
        }
        self.nodes[at].seen.workdir = true;
        self.set_directory(at, &path)?;
        let directory = self.nodes[at].state.directory.clone();
        let layer = directory != "/";
        if layer {
            self.make_directory(at, instruction, &directory)?;
        }
        self.record(at, format!("WORKDIR {directory}"), layer)
    }

    fn make_directory(
        &mut self,
        at: usize,
        instruction: &Instruction,
        directory: &str,
    ) -> Result<(), Fault> {
        let node = &self.nodes[at];
        let variables = node.state.environment.clone();
        let platform = node
            .platform
            .clone()
            .unwrap_or_else(|| self.target_platform.clone());
        let user = &node.image.config.user;
        let mkdir = pb::FileActionMkDir {
            path: directory.to_owned(),
            mode: 0o755,
            make_parents: true,
            owner: (!user.is_empty()).then(|| owner(user)),
            timestamp: match self.epoch {
                None => -1,
                Some(seconds) => seconds.saturating_mul(1_000_000_000),
            },
        };
        let actions = FileActions {
            base: node.state.output,
            directory: node.state.directory.clone(),
            actions: vec![Action::Mkdir(mkdir)],
        };
        let text = shown(self.expander, &instruction.text, &*variables);
        let name = self.step_name(at, &text, Some(&platform), Some(&*variables));
        let notes = Notes::named(name).at(instruction.lines).on(&platform);
        let output = self.graph.file(actions, notes);
        self.nodes[at].state.output = Some(output);
        Ok(())
    }
}
