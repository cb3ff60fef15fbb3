//! What comes from a cache is what a build from nothing makes: random Dockerfiles, each built from nothing, on top of
//! what relatives of it left in the cache, and wholly from the cache.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use integration_tests::generate::{Generated, generate};
use integration_tests::image::{Tree, command, differences, oci_config, read_tree};
use integration_tests::sandbox::{Sandbox, path, succeed};

/// Seeds in the ordinary run; `COOPER_EQUIVALENCE_SEEDS=from..to` chooses others.
const SEEDS: std::ops::Range<u64> = 0..60;

fn seeds() -> Result<std::ops::Range<u64>> {
    #[expect(clippy::disallowed_methods, reason = "a test's own knob")]
    let Ok(text) = std::env::var("COOPER_EQUIVALENCE_SEEDS") else {
        return Ok(SEEDS);
    };
    let (from, to) = text
        .split_once("..")
        .context("COOPER_EQUIVALENCE_SEEDS is from..to")?;
    Ok(from.parse()?..to.parse()?)
}

/// What a build made: the diff IDs of its layers and its root file system.
struct Built {
    layers: Vec<String>,
    tree: Tree,
}

fn build(sandbox: &Sandbox, generated: &Generated) -> Result<Built> {
    let scratch = sandbox.path("scratch");
    if scratch.exists() {
        fs::remove_dir_all(&scratch)?;
    }
    let (context, files, layout) = (
        scratch.join("context"),
        scratch.join("files"),
        scratch.join("layout"),
    );
    fs::create_dir_all(&context)?;
    fs::create_dir_all(&layout)?;
    generated.write_to(&context)?;
    let archive = scratch.join("image.tar");
    sandbox.succeed([
        "build",
        "--progress",
        "plain",
        "--output",
        &format!("type=oci,dest={}", path(&archive)),
        "--output",
        &format!("type=local,dest={}", path(&files)),
        path(&context),
    ])?;
    Ok(Built {
        layers: layers(&archive, &layout)?,
        tree: read_tree(&files)?,
    })
}

fn layers(archive: &Path, layout: &Path) -> Result<Vec<String>> {
    succeed(command("tar", &["-xf", path(archive), "-C", path(layout)]))?;
    let config = oci_config(layout)?;
    let listed = config["rootfs"]["diff_ids"]
        .as_array()
        .context("a configuration lists its layers")?;
    Ok(listed
        .iter()
        .filter_map(|id| id.as_str())
        .map(str::to_owned)
        .collect())
}

/// Builds one seed in every way; says how the results differ.
fn check(seed: u64) -> Result<Vec<String>> {
    let generated = generate(seed);
    let warm = Sandbox::with_busybox()?;
    build(&warm, &generated.with_changed_file(seed))?;
    let partly = build(&warm, &generated)?;
    build(&warm, &generated.with_step("WORKDIR /more"))?;
    let wholly = build(&warm, &generated)?;
    let cold = build(&Sandbox::with_busybox()?, &generated)?;

    let mut wrong = Vec::new();
    if partly.layers != wholly.layers {
        wrong.push(format!(
            "layers changed:\n  {:?}\n  {:?}",
            partly.layers, wholly.layers
        ));
    }
    if cold.layers.len() != wholly.layers.len() {
        wrong.push(format!(
            "{} layers from nothing, {} cached",
            cold.layers.len(),
            wholly.layers.len()
        ));
    }
    wrong.extend(
        differences(&cold.tree, &partly.tree)
            .into_iter()
            .map(|line| format!("partly cached: {line}")),
    );
    wrong.extend(
        differences(&cold.tree, &wholly.tree)
            .into_iter()
            .map(|line| format!("wholly cached: {line}")),
    );
    Ok(wrong
        .into_iter()
        .map(|line| format!("seed {seed}: {line}"))
        .collect())
}

#[test]
fn cached_builds_equal_builds_from_nothing() -> Result<()> {
    let seeds: Vec<u64> = seeds()?.collect();
    let halves = seeds.split_at(seeds.len() / 2);
    let work = |seeds: &[u64]| -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        for seed in seeds {
            wrong.extend(
                check(*seed)
                    .with_context(|| format!("seed {seed}:\n{}", generate(*seed).dockerfile))?,
            );
        }
        Ok(wrong)
    };
    let (one, two) = std::thread::scope(|scope| {
        let other = scope.spawn(|| work(halves.1));
        (work(halves.0), other.join())
    });
    let mut wrong = one?;
    wrong.extend(two.map_err(|_| anyhow::anyhow!("a half of the seeds panicked"))??);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
