//! ARGs that hold for the whole file.

use std::collections::BTreeSet;

use crate::diagnostic::{Fault, Lines};
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

/// An ARG before the first FROM with its value.
#[derive(Clone, Debug)]
pub(super) struct Global {
    /// The name.
    pub(super) name: String,
    /// The value, if it has one.
    pub(super) value: Option<String>,
    /// The names that the value is made of.
    pub(super) parts: BTreeSet<String>,
    /// Comments above.
    pub(super) comments: Vec<String>,
    /// Where it stands.
    pub(super) lines: Lines,
}

/// Adds the ARGs before the first FROM, build-args over defaults, and says which were declared.
///
/// # Errors
/// A default that cannot be expanded, with its lines.
pub(super) fn declared(
    all: &mut Environment,
    globals: &[GlobalArgument],
    expander: Expander,
    build_args: &Texts,
) -> Result<Vec<Global>, Fault> {
    let mut found = Vec::new();
    for global in globals {
        for argument in &global.arguments {
            let mut parts = BTreeSet::new();
            let value = match (build_args.get(&argument.key), &argument.value) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => {
                    let expanded = expander
                        .expand(default, all)
                        .map_err(|error| Fault::new(error).at(global.lines))?;
                    parts = expanded.matched;
                    Some(expanded.text)
                }
                (None, None) => None,
            };
            if let Some(value) = &value {
                all.set(argument.key.as_str(), value.as_str());
            }
            found.push(Global {
                name: argument.key.clone(),
                value,
                parts,
                comments: global.comments.clone(),
                lines: global.lines,
            });
        }
    }
    Ok(found)
}
