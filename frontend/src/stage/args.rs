//! ARGs that hold for the whole file.

use std::collections::BTreeSet;

use crate::diagnostic::Fault;
use crate::environment::Environment;
use crate::expand::Expander;
use crate::instruction::GlobalArgument;
use crate::options::Texts;
use crate::platform::{self, Platform};

/// The automatic ARGs; each can be overridden.
pub(super) fn automatic(
    build: &Platform,
    target: &Platform,
    stage: &str,
    overrides: &Texts,
) -> Environment {
    let stage = if stage.is_empty() { "default" } else { stage };
    let values = [
        ("BUILDPLATFORM", platform::short(build)),
        ("BUILDOS", build.os.clone()),
        ("BUILDOSVERSION", build.os_version.clone()),
        ("BUILDARCH", build.architecture.clone()),
        ("BUILDVARIANT", build.variant.clone()),
        ("TARGETPLATFORM", platform::full(target)),
        ("TARGETOS", target.os.clone()),
        ("TARGETOSVERSION", target.os_version.clone()),
        ("TARGETARCH", target.architecture.clone()),
        ("TARGETVARIANT", target.variant.clone()),
        ("TARGETSTAGE", stage.to_owned()),
    ];
    let mut all = Environment::default();
    for (name, value) in values {
        let value = overrides.get(name).cloned().unwrap_or(value);
        all.set(name, value);
    }
    all
}

/// Adds the ARGs before the first FROM, build-args over defaults, and says which names were declared.
///
/// # Errors
/// A default that cannot be expanded, with its lines.
pub(super) fn declared(
    all: &mut Environment,
    globals: &[GlobalArgument],
    expander: Expander,
    build_args: &Texts,
) -> Result<BTreeSet<String>, Fault> {
    let mut names = BTreeSet::new();
    for global in globals {
        for argument in &global.arguments {
            names.insert(argument.key.clone());
            let value = match (build_args.get(&argument.key), &argument.value) {
                (Some(given), _) => given.clone(),
                (None, Some(default)) => {
                    let expanded = expander.expand(default, all);
                    expanded
                        .map_err(|error| Fault::new(error).at(global.lines))?
                        .text
                }
                (None, None) => continue,
            };
            all.set(argument.key.clone(), value);
        }
    }
    Ok(names)
}
