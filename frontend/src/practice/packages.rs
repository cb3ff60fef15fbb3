//! Package managers: indexes, caches, packages that nobody asked for.

use super::facts::{File, RunFacts};
use super::finding::{Change, Finding, Practice};
use super::shell::Command;

/// What a package manager leaves behind when it installs.
struct Leaves {
    programs: &'static [&'static str],
    /// Its folder in the image.
    folder: &'static str,
    /// A flag that keeps it from leaving anything.
    flag: Option<&'static str>,
    /// A command that cleans up.
    clean: Option<&'static str>,
    size: &'static str,
}

const MANAGERS: [Leaves; 4] = [
    Leaves {
        programs: &["apt-get", "apt"],
        folder: "/var/lib/apt/lists",
        flag: None,
        clean: Some("rm -rf /var/lib/apt/lists/*"),
        size: "20 to 50 MB of package lists",
    },
    Leaves {
        programs: &["apk"],
        folder: "/var/cache/apk",
        flag: Some("--no-cache"),
        clean: None,
        size: "1 to 3 MB of package index",
    },
    Leaves {
        programs: &["dnf", "yum", "microdnf"],
        folder: "/var/cache/dnf",
        flag: None,
        clean: Some("dnf clean all"),
        size: "20 to 200 MB of metadata and packages",
    },
    Leaves {
        programs: &["pip", "pip3"],
        folder: "/root/.cache/pip",
        flag: Some("--no-cache-dir"),
        clean: None,
        size: "a copy of every wheel that was downloaded",
    },
];

fn installs(command: &Command, programs: &[&str]) -> bool {
    programs.contains(&command.program()) && matches!(command.verb(), "install" | "add")
}

/// An index that was updated in an earlier step is as old as that step's cached layer.
pub(super) fn split_index(file: &File, found: &mut Vec<Finding>) {
    for facts in &file.stages {
        for programs in [&["apt-get", "apt"][..], &["apk"]] {
            let mut updated: Option<&RunFacts> = None;
            for run in &facts.runs {
                let fresh = run.commands.iter().any(|command| {
                    programs.contains(&command.program()) && command.verb() == "update"
                });
                let install = run
                    .commands
                    .iter()
                    .find(|command| installs(command, programs) && !command.has("--no-cache"));
                if let (Some(install), Some(earlier), false) = (install, updated, fresh) {
                    found.push(stale(file, run, install.program(), earlier));
                }
                if fresh {
                    updated = Some(run);
                }
            }
        }
    }
}

fn stale(file: &File, run: &RunFacts, program: &str, earlier: &RunFacts) -> Finding {
    let line = earlier.lines.start;
    Finding {
        practice: Practice::PackageIndexSplit,
        lines: run.lines,
        message: format!("{program} installs from an index that the step on line {line} updated"),
        saves: "builds that fail, or install old packages, when the update comes from the cache"
            .to_owned(),
        advice: format!("run `{program} update` and the installation in one step"),
        change: insert_before(file, run, program, &format!("{program} update && ")),
    }
}

/// What stays in the layer is pushed and pulled with it, and no later step can remove it.
pub(super) fn kept_caches(file: &File, found: &mut Vec<Finding>) {
    for &at in &file.shipped {
        for run in &file.stages[at].runs {
            for manager in &MANAGERS {
                if let Some(finding) = kept_cache(file, at, run, manager) {
                    found.push(finding);
                }
            }
        }
    }
}

fn kept_cache(file: &File, at: usize, run: &RunFacts, manager: &Leaves) -> Option<Finding> {
    let install = run
        .commands
        .iter()
        .find(|command| installs(command, manager.programs))?;
    let cleaned = run.commands.iter().any(|command| {
        manager.programs.contains(&command.program())
            && command.verb() == "clean"
            && manager.flag.is_none()
            && manager.folder != "/var/lib/apt/lists"
    });
    let is_off = manager.flag.is_some_and(|flag| install.has(flag))
        || (manager.folder.ends_with("/pip") && sets_pip_off(file, at));
    if is_off || cleaned || run.covers(manager.folder) || run.removes(manager.folder) {
        return None;
    }
    let program = install.program();
    let change = match (manager.flag, manager.clean) {
        (Some(flag), _) => insert_after(file, run, program, flag),
        (None, Some(clean)) => {
            let clean = clean.replace("dnf", program);
            let clean = if clean.starts_with("rm") {
                manager.clean?.to_owned()
            } else {
                clean
            };
            append(file, run, &clean)
        }
        (None, None) => None,
    };
    let advice = match (manager.flag, manager.clean) {
        (Some(flag), _) => format!("add {flag}, or mount a cache on {}", manager.folder),
        (None, clean) => format!(
            "end the step with `{}`, or mount a cache on {}",
            clean.unwrap_or_default(),
            manager.folder
        ),
    };
    Some(Finding {
        practice: Practice::PackageCacheKept,
        lines: run.lines,
        message: format!(
            "what {program} leaves in {} stays in the layer",
            manager.folder
        ),
        saves: manager.size.to_owned(),
        advice,
        change,
    })
}

/// Whether the stage or one that it stands on says that pip keeps no cache.
fn sets_pip_off(file: &File, at: usize) -> bool {
    use crate::instruction::Kind;
    let mut next = Some(at);
    while let Some(at) = next {
        let facts = &file.stages[at];
        let set = facts.stage.instructions.iter().any(|instruction| {
            matches!(&instruction.kind, Kind::Env(settings) if settings.iter().any(|s| s.key == "PIP_NO_CACHE_DIR"))
        });
        if set {
            return true;
        }
        next = facts.base;
    }
    false
}

/// Debian installs what packages recommend unless it is told not to.
pub(super) fn recommended(file: &File, found: &mut Vec<Finding>) {
    const FLAG: &str = "--no-install-recommends";
    for &at in &file.shipped {
        for run in &file.stages[at].runs {
            let install = run.commands.iter().find(|command| {
                installs(command, &["apt-get", "apt"])
                    && !command.has(FLAG)
                    && !command
                        .words
                        .iter()
                        .any(|word| word.contains("Install-Recommends"))
            });
            let Some(install) = install else { continue };
            found.push(Finding {
                practice: Practice::RecommendedPackages,
                lines: run.lines,
                message: format!(
                    "{} installs what the packages recommend, too",
                    install.program()
                ),
                saves: "packages that nobody asked for, often half of all".to_owned(),
                advice: format!("add {FLAG}; name what turns out to be needed"),
                change: insert_after(file, run, install.program(), FLAG),
            });
        }
    }
}

/// The same lines with a word after every `program … install`.
fn insert_after(file: &File, run: &RunFacts, program: &str, word: &str) -> Option<Change> {
    edit(file, run, program, |text, _, verb_end| {
        text.insert_str(verb_end, &format!(" {word}"));
    })
}

/// The same lines with text before the first `program … install`.
fn insert_before(file: &File, run: &RunFacts, program: &str, before: &str) -> Option<Change> {
    let mut done = false;
    edit(file, run, program, |text, start, _| {
        if !std::mem::replace(&mut done, true) {
            text.insert_str(start, before);
        }
    })
}

/// Changes each place of `program … install`, the last first. `None` if there is none in the text.
fn edit(
    file: &File,
    run: &RunFacts,
    program: &str,
    mut change: impl FnMut(&mut String, usize, usize),
) -> Option<Change> {
    let original = file.text(run.lines);
    let places = calls(&original, program);
    if places.is_empty() || !run.plain {
        return None;
    }
    let mut text = original;
    for (start, end) in places.into_iter().rev() {
        change(&mut text, start, end);
    }
    Some(Change {
        lines: run.lines,
        text: Some(text),
    })
}

/// Where a program is called with `install` or `add` after nothing but flags: its start, and the end of the verb.
fn calls(text: &str, program: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (start, _) in text.match_indices(program) {
        let bounded = text[..start]
            .chars()
            .next_back()
            .is_none_or(|c| c.is_whitespace() || matches!(c, '&' | ';' | '|' | '/' | '('));
        if !bounded {
            continue;
        }
        let mut at = start + program.len();
        loop {
            let rest = &text[at..];
            let blank = rest.len() - rest.trim_start_matches([' ', '\t']).len();
            let word = rest[blank..].split_whitespace().next().unwrap_or_default();
            if blank == 0 || word.is_empty() {
                break;
            }
            at += blank + word.len();
            if matches!(word, "install" | "add") {
                found.push((start, at));
                break;
            }
            if !word.starts_with('-') {
                break;
            }
        }
    }
    found
}

/// The same lines with a command at the end of the script.
fn append(file: &File, run: &RunFacts, command: &str) -> Option<Change> {
    if !run.plain {
        return None;
    }
    let text = file.text(run.lines);
    let end = text.trim_end();
    // A comment or an open list at the end would swallow the command.
    let last = end.lines().next_back().unwrap_or_default().trim_start();
    if last.starts_with('#') || end.ends_with(['\\', '`', '&', '|', ';']) {
        return None;
    }
    let more = if run.lines.start == run.lines.end {
        format!(" && {command}")
    } else {
        format!(" \\\n    && {command}")
    };
    Some(Change {
        lines: run.lines,
        text: Some(format!("{end}{more}")),
    })
}
