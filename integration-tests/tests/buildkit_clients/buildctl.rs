//! Builds, caches, lists and errors with `buildctl`.

use std::fs;

use anyhow::{Context, Result};
use integration_tests::image::unpack_oci;
use integration_tests::peers::Cooperd;
use integration_tests::registry::Registry;
use integration_tests::sandbox::{Sandbox, finish, path, succeed};
use serde_json::Value;

use super::{build_arguments, buildctl, context, digest_in, is_cached};

#[test]
fn buildctl_pushes_and_another_daemon_takes_the_cache_of_the_registry() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let registry = Registry::start(&sandbox.path("registry"))?;
    let (context, host) = context(&sandbox)?;
    let image = format!("{}/app:1", registry.address());
    let cache = format!("type=registry,ref={}/cache:1", registry.address());
    let output = format!("--output=type=image,name={image},push=true");
    let metadata = sandbox.path("metadata.json");

    let first = Cooperd::start(&sandbox.path("first"))?;
    let mut build = buildctl(&first, build_arguments(&context, &host));
    build
        .arg(&output)
        .arg(format!("--export-cache={cache},mode=max"))
        .args(["--metadata-file", path(&metadata)]);
    succeed(build)?;
    let said: Value = serde_json::from_slice(&fs::read(&metadata)?)?;
    let pushed = digest_in(&registry, "app:1")?;
    assert_eq!(said["containerimage.digest"], pushed.as_str());

    let second = Cooperd::start(&sandbox.path("second"))?;
    let mut again = buildctl(&second, build_arguments(&context, &host));
    again
        .arg(format!(
            "--output=type=image,name={}/app:2,push=true",
            registry.address()
        ))
        .arg(format!("--import-cache={cache}"));
    let again = succeed(again)?;
    for step in ["[left 1/1] RUN", "[final 3/3] RUN"] {
        assert!(
            is_cached(&again.stderr, step),
            "{step} ran again:\n{}",
            again.stderr
        );
    }
    assert_eq!(
        digest_in(&registry, "app:2")?,
        pushed,
        "the cache gave another image"
    );
    Ok(())
}

#[test]
fn buildctl_keeps_a_cache_in_a_folder_and_writes_an_archive() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let (context, host) = context(&sandbox)?;
    let cache = sandbox.path("cache");
    let archive = sandbox.path("app.tar");
    let first = Cooperd::start(&sandbox.path("first"))?;
    let mut build = buildctl(&first, build_arguments(&context, &host));
    build
        .arg(format!("--output=type=oci,dest={}", path(&archive)))
        .arg(format!(
            "--export-cache=type=local,mode=max,dest={}",
            path(&cache)
        ));
    succeed(build)?;
    let (config, tree) = unpack_oci(&archive, &sandbox.path("unpacked"))?;
    assert_eq!(config["config"]["Cmd"], serde_json::json!(["cat", "/both"]));
    assert!(tree.contains_key("/both"), "the archive lacks a file");

    let second = Cooperd::start(&sandbox.path("second"))?;
    let mut again = buildctl(&second, build_arguments(&context, &host));
    again
        .arg(format!(
            "--output=type=local,dest={}",
            path(&sandbox.path("files"))
        ))
        .arg(format!("--import-cache=type=local,src={}", path(&cache)));
    let again = succeed(again)?;
    assert!(
        is_cached(&again.stderr, "[final 3/3] RUN"),
        "the cache in the folder was of no use:\n{}",
        again.stderr
    );
    assert_eq!(
        fs::read_to_string(sandbox.path("files/both"))?,
        "left\nhello\n"
    );
    Ok(())
}

#[test]
fn buildctl_lists_what_was_built_and_prunes_it() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let (context, host) = context(&sandbox)?;
    let daemon = Cooperd::start(&sandbox.path("daemon"))?;
    let ask = |arguments: &[&str]| succeed(buildctl(&daemon, arguments));
    let reference = sandbox.path("reference");
    let mut build = buildctl(&daemon, build_arguments(&context, &host));
    build.args(["--ref-file", path(&reference)]);
    succeed(build)?;
    let reference = fs::read_to_string(&reference)?;

    assert!(
        ask(&["debug", "workers", "--verbose"])?
            .stdout
            .contains("Platforms:")
    );
    assert!(ask(&["debug", "info"])?.stdout.contains("cooper"));
    let used = ask(&["du", "--verbose"])?.stdout;
    assert!(
        used.contains("RUN cat /left"),
        "a step's record is missing:\n{used}"
    );
    let locals = ask(&[
        "du",
        "--filter=type==source.local",
        "--format={{range .}}{{.RecordType}} {{end}}",
    ])?;
    assert!(locals.stdout.contains("source.local"), "{}", locals.stdout);
    assert!(!locals.stdout.contains("regular"), "{}", locals.stdout);

    let builds = ask(&["debug", "histories"])?.stdout;
    assert!(
        builds.contains(reference.trim()),
        "the build is not listed:\n{builds}"
    );
    let logs = ask(&["debug", "logs", "--progress=plain", reference.trim()])?;
    let logs = logs.stdout + &logs.stderr;
    assert!(logs.contains("RUN cat /left"), "no progress:\n{logs}");
    ask(&["prune-histories"])?;
    let builds = ask(&["debug", "histories"])?.stdout;
    assert!(
        !builds.contains(reference.trim()),
        "the build is still listed:\n{builds}"
    );
    ask(&["prune", "--all"])?;
    let used = ask(&["du"])?.stdout;
    assert!(used.contains("Total:\t\t0B"), "something is kept:\n{used}");
    Ok(())
}

#[test]
fn buildctl_shows_the_lines_where_a_build_failed() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let (context, host) = context(&sandbox)?;
    let daemon = Cooperd::start(&sandbox.path("daemon"))?;
    let mut build = buildctl(&daemon, build_arguments(&context, &host));
    build.arg("--opt=target=broken");
    let failed = finish(build.output().context("starting buildctl")?)?;
    assert_eq!(failed.code, 1, "{}", failed.stderr);
    for words in [
        "Dockerfile:10",
        ">>> RUN echo \"about to fail\" && false",
        "exit code: 1",
    ] {
        assert!(
            failed.stderr.contains(words),
            "no {words:?} in\n{}",
            failed.stderr
        );
    }
    Ok(())
}
