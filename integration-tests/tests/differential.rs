//! Our images beside those that Debian's buildah makes of the same Dockerfiles: paths, modes, owners, links, extended
//! attributes, contents and configuration. Where the two differ `dockerfiles/differences.toml` says what and why;
//! BuildKit's behaviour decides. A difference that is not listed fails, and so does a listed one that is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use integration_tests::image::{Entry, Tree, command, read_tree, unpack_oci};
use integration_tests::peers::Buildah;
use integration_tests::sandbox::{Sandbox, base_busybox, path, repository, succeed};
use serde_json::{Map, Value};

/// Parts of a configuration that both tools write.
const CONFIG: &[&str] = &[
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
    "OnBuild",
    "Healthcheck",
    "Shell",
];

/// Fewer Dockerfiles than this and the comparison says little.
const AT_LEAST: usize = 40;

fn cases() -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = fs::read_dir(repository().join("integration-tests/dockerfiles"))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|folder| folder.join("Dockerfile").exists())
        .collect();
    found.sort();
    Ok(found)
}

/// Listed differences: for a case (`*` for all), what differs (a path with a leading `/`, or `config.Field`) and why.
fn listed() -> Result<BTreeMap<(String, String), String>> {
    let text =
        fs::read_to_string(repository().join("integration-tests/dockerfiles/differences.toml"))?;
    let table: toml::Table = text.parse()?;
    let mut found = BTreeMap::new();
    for row in table["difference"]
        .as_array()
        .context("differences.toml holds [[difference]]")?
    {
        let field = |name: &str| {
            row.get(name)
                .and_then(toml::Value::as_str)
                .context(format!("`{name}` in {row}"))
        };
        found.insert(
            (field("case")?.to_owned(), field("what")?.to_owned()),
            field("why")?.to_owned(),
        );
    }
    Ok(found)
}

/// Extra arguments for a case, a line each, in its file `arguments`. Both tools know them.
fn arguments(case: &Path) -> Vec<String> {
    let text = fs::read_to_string(case.join("arguments")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn ours(sandbox: &Sandbox, case: &Path, scratch: &Path) -> Result<(Value, Tree)> {
    let archive = scratch.join("ours.tar");
    let output = format!("type=oci,dest={}", path(&archive));
    let mut all: Vec<String> = ["build", "--progress", "plain", "--output", &output]
        .map(str::to_owned)
        .to_vec();
    all.extend(arguments(case));
    all.push(path(case).to_owned());
    sandbox.succeed(all)?;
    let (config, tree) = unpack_oci(&archive, &scratch.join("ours"))?;
    Ok((config["config"].clone(), tree))
}

fn theirs(buildah: &Buildah, case: &Path, scratch: &Path) -> Result<(Value, Tree)> {
    buildah.build(case, "case", &arguments(case))?;
    let layout = scratch.join("theirs.oci");
    buildah.export_oci("case", &layout)?;
    let bundle = scratch.join("theirs");
    succeed(command(
        "umoci",
        &[
            "unpack",
            "--image",
            &format!("{}:latest", path(&layout)),
            path(&bundle),
        ],
    ))?;
    Ok((
        buildah.docker_config("case")?["config"].clone(),
        read_tree(&bundle.join("rootfs"))?,
    ))
}

/// An absent field, null and an empty value mean the same.
fn meaning(value: Option<&Value>) -> Value {
    match value {
        None | Some(Value::Null) => Value::Null,
        Some(Value::String(text)) if text.is_empty() => Value::Null,
        Some(Value::Array(list)) if list.is_empty() => Value::Null,
        Some(Value::Object(map)) if map.is_empty() => Value::Null,
        Some(Value::Object(map)) => {
            let sorted: BTreeMap<&String, &Value> = map
                .iter()
                .filter(|(name, _)| *name != "io.buildah.version")
                .collect();
            if sorted.is_empty() {
                return Value::Null;
            }
            Value::Object(
                sorted
                    .into_iter()
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect::<Map<_, _>>(),
            )
        }
        Some(other) => other.clone(),
    }
}

/// What differs, by name, with both sides.
fn compare(ours: &(Value, Tree), theirs: &(Value, Tree)) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for field in CONFIG {
        let (our, their) = (meaning(ours.0.get(field)), meaning(theirs.0.get(field)));
        if our != their {
            found.insert(
                format!("config.{field}"),
                format!("ours {our}, theirs {their}"),
            );
        }
    }
    let names: BTreeSet<&String> = ours.1.keys().chain(theirs.1.keys()).collect();
    for name in names {
        let (our, their): (Option<&Entry>, Option<&Entry>) = (ours.1.get(name), theirs.1.get(name));
        if our != their {
            found.insert(name.clone(), format!("ours {our:?}\n    theirs {their:?}"));
        }
    }
    found
}

#[test]
fn images_equal_those_that_buildah_builds() -> Result<()> {
    let cases = cases()?;
    ensure!(
        cases.len() >= AT_LEAST,
        "only {} Dockerfiles to compare",
        cases.len()
    );
    let sandbox = Sandbox::with_busybox()?;
    let buildah = Buildah::with_busybox(&sandbox.path("buildah"), &base_busybox()?)?;
    let listed = listed()?;
    let mut seen = BTreeSet::new();
    let mut unlisted = Vec::new();
    for case in &cases {
        let name = case
            .file_name()
            .context("a case has a name")?
            .to_string_lossy()
            .into_owned();
        let scratch = sandbox.path("scratch");
        fs::create_dir_all(&scratch)?;
        let both = ours(&sandbox, case, &scratch)
            .and_then(|our| Ok((our, theirs(&buildah, case, &scratch)?)));
        match both {
            Err(error) => unlisted.push(format!("{name}: not built: {error:#}")),
            Ok((our, their)) => {
                for (what, sides) in compare(&our, &their) {
                    let keys = [
                        (name.clone(), what.clone()),
                        (String::from("*"), what.clone()),
                    ];
                    match keys.into_iter().find(|key| listed.contains_key(key)) {
                        Some(key) => drop(seen.insert(key)),
                        None => unlisted.push(format!("{name}: {what}: {sides}")),
                    }
                }
            }
        }
        fs::remove_dir_all(&scratch)?;
    }
    let gone: Vec<_> = listed.keys().filter(|key| !seen.contains(*key)).collect();
    assert!(
        unlisted.is_empty(),
        "{} differences are not listed:\n{}",
        unlisted.len(),
        unlisted.join("\n")
    );
    assert!(
        gone.is_empty(),
        "listed differences that are no more: {gone:?}"
    );
    Ok(())
}
