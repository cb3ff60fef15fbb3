//! Files that are copied too early, or deleted too late.

use super::facts::{File, RunFacts, StageFacts};
use super::finding::{Finding, Practice};
use super::shell::Command;
use crate::diagnostic::Lines;
use crate::instruction::Kind;

/// Programs that install dependencies, the verbs with which they do, and the files that say which.
const INSTALLERS: [(&[&str], &[&str], &str); 11] = [
    (&["npm"], &["install", "ci", "i"], "package*.json"),
    (&["yarn"], &["install", ""], "package.json yarn.lock"),
    (
        &["pnpm"],
        &["install", "i", "fetch"],
        "package.json pnpm-lock.yaml",
    ),
    (&["pip", "pip3"], &["install"], "requirements.txt"),
    (&["poetry"], &["install"], "pyproject.toml poetry.lock"),
    (&["uv"], &["sync"], "pyproject.toml uv.lock"),
    (&["bundle"], &["install", ""], "Gemfile Gemfile.lock"),
    (&["composer"], &["install"], "composer.json composer.lock"),
    (&["go"], &["mod"], "go.mod go.sum"),
    (&["cargo"], &["fetch"], "Cargo.toml Cargo.lock"),
    (
        &["mvn"],
        &["dependency:go-offline", "dependency:resolve"],
        "pom.xml",
    ),
];

fn installer(command: &Command) -> Option<&'static str> {
    INSTALLERS
        .iter()
        .find(|(programs, verbs, _)| {
            programs.contains(&command.program()) && verbs.contains(&command.verb())
        })
        .filter(|(programs, ..)| {
            !programs.contains(&"pip") || command.has("-r") || command.has("--requirement")
        })
        .map(|(_, _, files)| *files)
}

/// A change of any file makes the installation run again when all files were copied before it.
pub(super) fn broad_before_install(file: &File, found: &mut Vec<Finding>) {
    for facts in &file.stages {
        let Some((at, lines)) = broad_copy(facts) else {
            continue;
        };
        let install = facts.runs.iter().filter(|run| run.at > at).find_map(|run| {
            let hit = run
                .commands
                .iter()
                .find_map(|command| Some((command, installer(command)?)));
            hit.map(|(command, files)| (run, command, files))
        });
        let Some((run, command, files)) = install else {
            continue;
        };
        let called = format!("{} {}", command.program(), command.verb());
        let already = facts.runs.iter().any(|earlier| {
            earlier.at < at && earlier.commands.iter().any(|c| installer(c).is_some())
        });
        if already {
            continue;
        }
        found.push(Finding {
            practice: Practice::BroadCopyBeforeInstall,
            lines,
            message: format!(
                "all files are copied before `{}` on line {}",
                called.trim_end(),
                run.lines.start
            ),
            saves: "an installation of all dependencies whenever any file changes".to_owned(),
            advice: format!(
                "copy {files} first, install, then copy the rest; or mount them with --mount=type=bind"
            ),
            change: None,
        });
    }
}

/// The first COPY or ADD of the whole context.
fn broad_copy(facts: &StageFacts) -> Option<(usize, Lines)> {
    let mut instructions = facts.stage.instructions.iter().enumerate();
    instructions.find_map(|(at, instruction)| {
        let paths = match &instruction.kind {
            Kind::Copy(copy) if copy.from.is_empty() => &copy.paths,
            Kind::Add(add) => &add.paths,
            _ => return None,
        };
        let broad =
            |source: &String| matches!(source.as_str(), "." | "./" | "/" | "*" | "./*" | "**");
        paths
            .sources
            .iter()
            .any(broad)
            .then_some((at, instruction.lines))
    })
}

/// A file that a stage has made, and where.
struct Made {
    path: String,
    lines: Lines,
    at: usize,
}

/// A layer that deletes a file hides it; the layer that made it keeps it.
pub(super) fn deleted_later(file: &File, found: &mut Vec<Finding>) {
    for &stage in &file.shipped {
        let facts = &file.stages[stage];
        let made = made(facts);
        for run in &facts.runs {
            let removed = run
                .commands
                .iter()
                .filter(|command| command.program() == "rm");
            for operand in removed.flat_map(Command::operands) {
                let Some(origin) = made
                    .iter()
                    .find(|made| made.at < run.at && hits(operand, &made.path))
                else {
                    continue;
                };
                found.push(Finding {
                    practice: Practice::DeletedInLaterLayer,
                    lines: run.lines,
                    message: format!(
                        "{operand} is deleted here, but stays in the layer of line {}",
                        origin.lines.start
                    ),
                    saves: "the size of what is deleted, in every push and pull".to_owned(),
                    advice:
                        "use it through `RUN --mount=type=bind`, or make and delete it in one step"
                            .to_owned(),
                    change: None,
                });
            }
        }
    }
}

/// Files that a stage copies or downloads by name.
fn made(facts: &StageFacts) -> Vec<Made> {
    let mut all = Vec::new();
    let mut directory = String::from("/");
    for (at, instruction) in facts.stage.instructions.iter().enumerate() {
        let paths = match &instruction.kind {
            Kind::Workdir(path) => {
                directory = join(&directory, path);
                continue;
            }
            Kind::Copy(copy) => &copy.paths,
            Kind::Add(add) => &add.paths,
            _ => {
                let run = facts.runs.iter().find(|run| run.at == at);
                all.extend(run.into_iter().flat_map(|run| downloads(run, &directory)));
                continue;
            }
        };
        let destination = join(&directory, &paths.destination);
        let folder =
            paths.destination.ends_with('/') || paths.sources.len() > 1 || paths.destination == ".";
        for source in &paths.sources {
            let name = source
                .trim_end_matches('/')
                .rsplit('/')
                .next()
                .unwrap_or_default();
            let path = match (folder, name) {
                (true, "" | "." | "*") => continue,
                (true, name) => join(&destination, name),
                (false, _) => destination.clone(),
            };
            all.push(Made {
                path,
                lines: instruction.lines,
                at,
            });
        }
    }
    all
}

fn downloads(run: &RunFacts, directory: &str) -> Vec<Made> {
    run.commands
        .iter()
        .filter_map(|command| match command.program() {
            "curl" => command.value("-o", "--output"),
            "wget" => command.value("-O", "--output-document"),
            _ => None,
        })
        .filter(|path| *path != "-" && !run.covers(path))
        .map(|path| Made {
            path: join(directory, path),
            lines: run.lines,
            at: run.at,
        })
        .collect()
}

fn join(directory: &str, path: &str) -> String {
    crate::golang::path::join(&if path.starts_with('/') {
        vec!["/", path]
    } else {
        vec![directory, path]
    })
}

/// Whether deleting `operand` deletes `path`.
fn hits(operand: &str, path: &str) -> bool {
    let operand = operand.trim_end_matches('/');
    if let Some(folder) = operand.strip_suffix("/*") {
        return folder.len() > 1
            && path
                .strip_prefix(folder)
                .is_some_and(|rest| rest.starts_with('/'));
    }
    operand.len() > 1
        && operand.starts_with('/')
        && path
            .strip_prefix(operand)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
