//! What an image stands on and what it ships.

use super::facts::File;
use super::finding::{Finding, Practice};

/// Images whose purpose is building.
const BUILDERS: [&str; 10] = [
    "golang", "rust", "gcc", "maven", "gradle", "node", "swift", "haskell", "erlang", "elixir",
];

/// Of these, the ones that programs run on, too.
const ALSO_RUN: [&str; 3] = ["node", "erlang", "elixir"];

/// Packages that are for building.
const TOOLS: [&str; 17] = [
    "build-essential",
    "build-base",
    "gcc",
    "g++",
    "clang",
    "make",
    "cmake",
    "ninja-build",
    "autoconf",
    "automake",
    "golang",
    "golang-go",
    "rustc",
    "cargo",
    "maven",
    "gradle",
    "default-jdk",
];

/// Compilers in the image that is shipped make it larger and help who breaks in.
pub(super) fn shipped_tools(file: &File, found: &mut Vec<Finding>) {
    for &at in &file.shipped {
        let facts = &file.stages[at];
        if facts.base.is_none()
            && let name = name_of(&facts.stage.base)
            && BUILDERS.contains(&name)
            && !ALSO_RUN.contains(&name)
        {
            found.push(Finding {
                practice: Practice::BuildToolsShipped,
                lines: facts.stage.lines,
                message: format!("the final image stands on {name}, which has the whole tool chain"),
                saves: "several hundred megabytes".to_owned(),
                advice: "build in a stage of its own and copy the result to a small image with `COPY --from`".to_owned(),
                change: None,
            });
        }
        for run in &facts.runs {
            let installs = run.commands.iter().filter(|command| {
                matches!(command.verb(), "install" | "add")
                    && matches!(
                        command.program(),
                        "apt-get" | "apt" | "apk" | "dnf" | "yum" | "microdnf"
                    )
            });
            let tools: Vec<&str> = installs
                .flat_map(|command| command.operands().skip(1))
                .map(|package| {
                    package
                        .split(['=', '<', '>', '~'])
                        .next()
                        .unwrap_or(package)
                })
                .filter(|package| TOOLS.contains(package))
                .collect();
            let removed = run
                .commands
                .iter()
                .any(|command| matches!(command.verb(), "purge" | "remove" | "del" | "autoremove"));
            if tools.is_empty() || removed {
                continue;
            }
            found.push(Finding {
                practice: Practice::BuildToolsShipped,
                lines: run.lines,
                message: format!("the final image has {}", tools.join(", ")),
                saves: "100 to 400 MB".to_owned(),
                advice: "build in a stage of its own and copy the result with `COPY --from`"
                    .to_owned(),
                change: None,
            });
        }
    }
}

fn name_of(reference: &str) -> &str {
    let name = reference.rsplit('/').next().unwrap_or(reference);
    name.split(['@', ':']).next().unwrap_or(name)
}

/// A tag is another image tomorrow; a digest is not.
pub(super) fn unpinned(file: &File, found: &mut Vec<Finding>) {
    for facts in &file.stages {
        let base = &facts.stage.base;
        if facts.base.is_some() || base == "scratch" || base.contains('@') || base.contains('$') {
            continue;
        }
        let name = base.rsplit('/').next().unwrap_or(base);
        let message = match name.split_once(':') {
            None => format!("{base} has no tag, so that it means the newest image there is"),
            Some((_, "latest")) => format!("{base} means the newest image there is"),
            Some(_) => format!("{base} has no digest, so that it may be another image tomorrow"),
        };
        found.push(Finding {
            practice: Practice::UnpinnedBase,
            lines: facts.stage.lines,
            message,
            saves:
                "builds that change without a change, and steps that run again when the base moves"
                    .to_owned(),
            advice: format!("write {base}@sha256:…; `cooper image inspect` shows the digest"),
            change: None,
        });
    }
}
