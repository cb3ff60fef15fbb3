//! `docker buildx` with its remote driver.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use integration_tests::peers::{Cooperd, Dockerd};
use integration_tests::registry::Registry;
use integration_tests::sandbox::{Finished, Sandbox, path, succeed};
use serde_json::Value;

use super::{client, context, digest_in, is_cached};

/// `docker buildx` with a configuration of its own, and a builder that is the daemon.
struct Buildx<'a> {
    sandbox: &'a Sandbox,
    /// Docker's engine, which has nothing to do but to be given images.
    engine: Option<&'a Dockerd>,
}

impl<'a> Buildx<'a> {
    fn new(sandbox: &'a Sandbox, daemon: &Cooperd, engine: Option<&'a Dockerd>) -> Result<Self> {
        let plugins = sandbox.path("docker-config/cli-plugins");
        fs::create_dir_all(&plugins)?;
        symlink(client("buildx"), plugins.join("docker-buildx"))?;
        let buildx = Self { sandbox, engine };
        buildx.run(&[
            "create",
            "--name=cooper",
            "--driver=remote",
            "--use",
            &daemon.address(),
        ])?;
        Ok(buildx)
    }

    fn run(&self, arguments: &[&str]) -> Result<Finished> {
        let mut command = Command::new("docker");
        if let Some(engine) = self.engine {
            command.env("DOCKER_HOST", engine.address());
        }
        command
            .env("DOCKER_CONFIG", self.sandbox.path("docker-config"))
            .env("HOME", self.sandbox.path("."))
            // Otherwise it asks whether a bake file may name folders.
            .env("BUILDX_BAKE_ENTITLEMENTS_FS", "0")
            .arg("buildx")
            .args(arguments)
            .stdin(Stdio::null());
        succeed(command)
    }
}

#[test]
fn docker_buildx_builds_pushes_loads_and_takes_caches() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let registry = Registry::start(&sandbox.path("registry"))?;
    let (context, host) = context(&sandbox)?;
    let engine = Dockerd::start(&sandbox.path("docker"))?;
    let host = format!("--build-context=host={}", path(&host));
    let image = format!("{}/app:1", registry.address());
    let cache = format!("type=registry,ref={}/cache:1", registry.address());

    let daemon = Cooperd::start(&sandbox.path("daemon"))?;
    let buildx = Buildx::new(&sandbox, &daemon, Some(&engine))?;
    let builder = buildx.run(&["inspect", "--bootstrap"])?.stdout;
    assert!(
        builder.contains("running"),
        "the builder does not run:\n{builder}"
    );
    let cache_to = format!("--cache-to={cache},mode=max");
    let arguments = [
        "build",
        "--progress=plain",
        &host,
        &cache_to,
        "--push",
        "-t",
        &image,
    ];
    buildx.run(&[&arguments[..], &[path(&context)]].concat())?;
    assert!(digest_in(&registry, "app:1")?.starts_with("sha256:"));

    let arguments = [
        "build",
        "--progress=plain",
        &host,
        "--load",
        "-t=loaded:1",
        path(&context),
    ];
    let loaded = buildx.run(&arguments)?;
    assert!(
        is_cached(&loaded.stderr, "[final 3/3] RUN"),
        "{}",
        loaded.stderr
    );
    let said = engine.docker(&["run", "--rm", "--network=none", "loaded:1"])?;
    assert_eq!(said, "left\nhello\n");
    drop(daemon);

    let other = Cooperd::start(&sandbox.path("other"))?;
    let address = other.address();
    buildx.run(&[
        "create",
        "--name=other",
        "--driver=remote",
        "--use",
        &address,
    ])?;
    let cache_from = format!("--cache-from={cache}");
    let files = format!("--output={}", path(&sandbox.path("files")));
    let arguments = [
        "build",
        "--progress=plain",
        &host,
        &cache_from,
        &files,
        path(&context),
    ];
    let again = buildx.run(&arguments)?;
    assert!(
        is_cached(&again.stderr, "[final 3/3] RUN"),
        "{}",
        again.stderr
    );
    assert_eq!(
        fs::read_to_string(sandbox.path("files/both"))?,
        "left\nhello\n"
    );
    Ok(())
}

#[test]
fn docker_buildx_lists_what_was_built_and_prunes_it() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let (context, host) = context(&sandbox)?;
    let bake = format!(
        "target \"default\" {{\n context = {:?}\n contexts = {{ host = {:?} }}\n output = [\"type=cacheonly\"]\n}}\n",
        path(&context),
        path(&host)
    );
    let bake_file = sandbox.path("docker-bake.hcl");
    fs::write(&bake_file, bake)?;
    let host = format!("--build-context=host={}", path(&host));
    let daemon = Cooperd::start(&sandbox.path("daemon"))?;
    let buildx = Buildx::new(&sandbox, &daemon, None)?;
    let metadata = sandbox.path("metadata.json");
    let arguments = [
        "build",
        "--progress=plain",
        &host,
        "--metadata-file",
        path(&metadata),
    ];
    buildx.run(&[&arguments[..], &[path(&context)]].concat())?;
    let said: Value = serde_json::from_slice(&fs::read(&metadata)?)?;
    let reference = said["buildx.build.ref"].as_str().context("a reference")?;
    let reference = reference.rsplit('/').next().context("an id")?;

    let builds = buildx.run(&["history", "ls"])?.stdout;
    assert!(
        builds.contains(reference),
        "the build is not listed:\n{builds}"
    );
    let shown = buildx.run(&["history", "inspect", reference])?.stdout;
    assert!(shown.contains("Build Steps:"), "{shown}");
    let logs = buildx.run(&["history", "logs", "--progress=plain", reference])?;
    assert!(
        (logs.stdout + &logs.stderr).contains("RUN cat /left"),
        "no progress"
    );
    let mut shown = buildx.run(&["du", "--verbose"])?.stdout;
    assert!(
        shown.contains("RUN cat /left"),
        "a step's record is missing:\n{shown}"
    );

    let checked = buildx.run(&["build", "--call=targets", &host, path(&context)])?;
    assert!(checked.stdout.contains("broken"), "{}", checked.stdout);
    let baked = buildx.run(&["bake", "--progress=plain", "-f", path(&bake_file)])?;
    assert!(
        is_cached(&baked.stderr, "[final 3/3] RUN"),
        "{}",
        baked.stderr
    );
    buildx.run(&["history", "rm", "--all"])?;
    buildx.run(&["prune", "--all", "--force"])?;
    shown = buildx.run(&["du"])?.stdout;
    assert!(shown.contains("0B"), "something is kept:\n{shown}");
    Ok(())
}
