//! A Dockerfile as the checks see it.

use std::collections::BTreeSet;

use super::finding::Finding;
use super::shell::{Command, commands};
use crate::diagnostic::{Fault, Lines};
use crate::dockerfile::directive::key_and_value;
use crate::dockerfile::parse;
use crate::instruction::mount::{Mount, Type};
use crate::instruction::{Instruction, Kind, Run, Stage, stages};
use crate::lint::{Linter, Options};

/// A file, and which of its stages are part of the image.
pub(super) struct File {
    pub(super) stages: Vec<StageFacts>,
    /// Its physical lines.
    pub(super) lines: Vec<String>,
    /// The stages that the last one stands on, itself among them.
    pub(super) shipped: BTreeSet<usize>,
    skipped: Options,
}

/// A stage.
pub(super) struct StageFacts {
    pub(super) stage: Stage,
    /// The earlier stage that it stands on.
    pub(super) base: Option<usize>,
    pub(super) runs: Vec<RunFacts>,
}

/// A RUN.
pub(super) struct RunFacts {
    /// Its position among the stage's instructions.
    pub(super) at: usize,
    pub(super) lines: Lines,
    pub(super) commands: Vec<Command>,
    /// Folders that cache mounts and tmpfs mounts cover.
    pub(super) covered: Vec<String>,
    /// Whether its text is one script on its lines, so that a script can be added to.
    pub(super) plain: bool,
}

impl File {
    /// Reads a text.
    ///
    /// # Errors
    /// A text that is no Dockerfile.
    pub(super) fn read(text: &str) -> Result<Self, Fault> {
        if text.is_empty() {
            return Err(Fault::new("the Dockerfile cannot be empty"));
        }
        let tree = parse(text.as_bytes());
        let skipped = tree
            .directives
            .iter()
            .find(|directive| directive.name == "check")
            .and_then(|directive| Options::parse(directive.value.split(' ').next()?).ok())
            .unwrap_or_default();
        let read = stages(&tree, &mut Linter::default())?;
        let mut all: Vec<StageFacts> = Vec::new();
        for stage in read.stages {
            let base = all.iter().rposition(|known| {
                !known.stage.name.is_empty() && known.stage.name == stage.base.to_lowercase()
            });
            let runs = stage
                .instructions
                .iter()
                .enumerate()
                .filter_map(|(at, instruction)| RunFacts::of(at, instruction))
                .collect();
            all.push(StageFacts { stage, base, runs });
        }
        let mut shipped = BTreeSet::new();
        let mut next = all.len().checked_sub(1);
        while let Some(at) = next {
            shipped.insert(at);
            next = all[at].base;
        }
        Ok(Self {
            stages: all,
            lines: text.split('\n').map(str::to_owned).collect(),
            shipped,
            skipped,
        })
    }

    /// Whether the file says that this is not to be told, for all of it or in a comment above the place.
    pub(super) fn skips(&self, finding: &Finding) -> bool {
        let name = finding.practice.name();
        self.skipped.skip.has(name)
            || self.comments(finding.lines).iter().any(|comment| {
                key_and_value(comment)
                    .filter(|(key, _)| key.eq_ignore_ascii_case("check"))
                    .and_then(|(_, value)| Options::parse(value.split(' ').next()?).ok())
                    .is_some_and(|options| options.skip.has(name))
            })
    }

    fn comments(&self, lines: Lines) -> &[String] {
        let stages = self.stages.iter().map(|facts| &facts.stage);
        stages
            .flat_map(|stage| {
                let inner = stage.instructions.iter();
                std::iter::once((stage.lines, &stage.comments))
                    .chain(inner.map(|instruction| (instruction.lines, &instruction.comments)))
            })
            .find(|(own, _)| *own == lines)
            .map_or(&[], |(_, comments)| comments)
    }

    /// The text of some lines.
    pub(super) fn text(&self, lines: Lines) -> String {
        let from = (lines.start as usize).saturating_sub(1);
        let to = (lines.end as usize).min(self.lines.len());
        self.lines[from.min(to)..to].join("\n")
    }
}

impl RunFacts {
    fn of(at: usize, instruction: &Instruction) -> Option<Self> {
        let Kind::Run(run) = &instruction.kind else {
            return None;
        };
        Some(Self {
            at,
            lines: instruction.lines,
            commands: script(run),
            covered: covered(run),
            plain: run.command.shell && run.command.files.is_empty(),
        })
    }

    /// Whether what a path holds is no part of the layer.
    pub(super) fn covers(&self, path: &str) -> bool {
        self.covered.iter().any(|folder| {
            path.strip_prefix(folder.trim_end_matches('/'))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// Whether it removes a folder, or all that is in it.
    pub(super) fn removes(&self, folder: &str) -> bool {
        self.commands
            .iter()
            .filter(|command| command.program() == "rm" || command.program() == "find")
            .any(|command| {
                command.operands().any(|operand| {
                    let operand = operand.trim_end_matches(['*', '/']);
                    !operand.is_empty()
                        && folder
                            .strip_prefix(operand)
                            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                })
            })
    }
}

fn script(run: &Run) -> Vec<Command> {
    if !run.command.shell {
        return vec![Command {
            words: run.command.arguments.clone(),
        }];
    }
    let mut text = run.command.arguments.join(" ");
    for file in &run.command.files {
        text.push('\n');
        text.push_str(&file.content);
    }
    commands(&text)
}

fn covered(run: &Run) -> Vec<String> {
    run.mounts
        .iter()
        .filter_map(|text| Mount::read(text, &mut |value| Ok(value.to_owned())).ok())
        .filter(|mount| matches!(mount.kind, Type::Cache | Type::Tmpfs))
        .map(|mount| mount.target)
        .collect()
}
