use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: BuildFlags,
}

fn read_in(here: &Path, line: &[&str]) -> Result<Plan, UsageError> {
    let arguments = ["build"].iter().chain(line).chain(&["."]);
    let flags = Line::try_parse_from(arguments).unwrap().flags;
    let folders = locate(&flags.context, None, here, &mut std::io::empty())?;
    let variables = BTreeMap::from([("FROM_ENV".to_owned(), "1".to_owned())]);
    let around = Surroundings {
        here,
        variables: &variables,
        stdout_is_terminal: false,
    };
    plan(&flags, &folders, around)
}

fn read(line: &[&str]) -> Result<Plan, UsageError> {
    let here = tempfile::tempdir().unwrap();
    fs::write(here.path().join("Dockerfile"), "").unwrap();
    fs::create_dir(here.path().join("lib")).unwrap();
    read_in(here.path(), line)
}

fn options(line: &[&str]) -> Vec<(String, String)> {
    let mut options = read(line).unwrap().options;
    assert_eq!(options.remove("filename").unwrap(), "Dockerfile");
    options.into_iter().collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

#[test]
fn each_flag_becomes_the_option_that_buildx_makes_of_it() {
    let line = [
        "--target=dev",
        "--build-arg=A=1=2",
        "--build-arg=FROM_ENV",
        "--build-arg=NOT_SET",
        "--label=l=x",
        "--label=empty",
        "--pull",
        "--platform=linux/x86_64,linux/arm64",
        "--network=none",
        "--add-host=db:10.0.0.2",
        "--add-host=six=[::1]",
        "--shm-size=64m",
        "--ulimit=nofile=1024:2048",
        "--ulimit=core=0",
        "--cgroup-parent=c",
        "--no-cache",
    ];
    assert_eq!(
        options(&line),
        pairs(&[
            ("add-hosts", "db=10.0.0.2,six=::1"),
            ("build-arg:A", "1=2"),
            ("build-arg:FROM_ENV", "1"),
            ("cgroup-parent", "c"),
            ("force-network-mode", "none"),
            ("image-resolve-mode", "pull"),
            ("label:empty", ""),
            ("label:l", "x"),
            ("no-cache", ""),
            ("platform", "linux/amd64,linux/arm64"),
            ("shm-size", "67108864"),
            ("target", "dev"),
            ("ulimit", "nofile=1024:2048,core=0:0"),
        ])
    );
}

#[test]
fn image_times_follow_the_environment() {
    let here = tempfile::tempdir().unwrap();
    fs::write(here.path().join("Dockerfile"), "").unwrap();
    let folders = locate(".", None, here.path(), &mut std::io::empty()).unwrap();
    let variables = BTreeMap::from([("SOURCE_DATE_EPOCH".to_owned(), "7".to_owned())]);
    let epoch = |line: &[&str]| {
        let flags = Line::try_parse_from(line).unwrap().flags;
        let around = Surroundings {
            here: here.path(),
            variables: &variables,
            stdout_is_terminal: false,
        };
        plan(&flags, &folders, around).unwrap().options["build-arg:SOURCE_DATE_EPOCH"].clone()
    };
    assert_eq!(epoch(&["build", "."]), "7");
    assert_eq!(
        epoch(&["build", "--build-arg=SOURCE_DATE_EPOCH=8", "."]),
        "8"
    );
}

#[test]
fn stages_without_cache_are_named() {
    let expected = pairs(&[("no-cache", "a,b,c")]);
    let line = ["--no-cache-filter=a,b", "--no-cache-filter=c"];
    assert_eq!(options(&line), expected);
}

#[test]
fn host_network_asks_for_its_permission() {
    let plan = read(&["--network=host"]).unwrap();
    assert_eq!(plan.options["force-network-mode"], "host");
    assert_eq!(plan.entitlements, ["network.host"]);
    let both = read(&["--network=host", "--allow=network.host,security.insecure"]).unwrap();
    assert_eq!(both.entitlements, ["network.host", "security.insecure"]);
    let devices = read(&["--allow=device=vendor.com/gpu", "--allow=device"]).unwrap();
    assert_eq!(devices.entitlements, ["device=vendor.com/gpu", "device"]);
}

#[test]
fn named_contexts_are_images_or_folders() {
    let line = [
        "--build-context=base=docker-image://debian:12",
        "--build-context=lib=lib",
        "--build-context=context=lib",
    ];
    let plan = read(&line).unwrap();
    assert_eq!(plan.options["context:base"], "docker-image://debian:12");
    assert_eq!(plan.options["context:lib"], "local:lib");
    assert_eq!(plan.options["context:context"], "local:_context");
    let names: Vec<_> = plan.folders.keys().map(String::as_str).collect();
    assert_eq!(names, ["_context", "context", "dockerfile", "lib"]);
}

fn kinds(line: &[&str]) -> Vec<(String, BTreeMap<String, String>)> {
    let outputs = read(line).unwrap().outputs;
    outputs
        .into_iter()
        .map(|o| (o.kind, o.attributes))
        .collect()
}

fn attributes(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs(list).into_iter().collect()
}

#[test]
fn image_is_kept_here_unless_another_output_is_wished() {
    let name = ("name", "docker.io/library/a:latest,q.io/b:1");
    let image = |list: &[(&str, &str)]| {
        let kept = [list, &[("store", "true")]].concat();
        ("image".to_owned(), attributes(&kept))
    };
    let tags = ["-t=a", "-t=q.io/b:1"];
    assert_eq!(kinds(&[]), [image(&[])]);
    assert_eq!(kinds(&tags), [image(&[name])]);
    assert_eq!(kinds(&["-o=out"]), [("local".to_owned(), attributes(&[]))]);
    let pushed = [&tags[..], &["--push"]].concat();
    assert_eq!(kinds(&pushed), [image(&[name, ("push", "true")])]);
    let loaded = [&tags[..], &["--load"]].concat();
    let docker = ("docker".to_owned(), attributes(&[name]));
    assert_eq!(kinds(&loaded), [docker, image(&[name])]);
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    for (line, name) in [
        ("--build-context=a=ftp://x", "the build context ftp://x"),
        ("--add-host=a:host-gateway", "the address host-gateway"),
    ] {
        let error = read(&[line]).unwrap_err();
        assert_eq!(error.to_string(), format!("{name} is not supported yet"));
    }
}

#[test]
fn statements_are_asked_for_as_buildx_has_them() {
    let asked = |line: &[&str]| {
        let options = options(line);
        options
            .into_iter()
            .filter(|(key, _)| key.starts_with("attest:"))
            .collect::<Vec<_>>()
    };
    assert_eq!(asked(&[]), []);
    assert_eq!(asked(&["--provenance=false", "--sbom=0"]), []);
    assert_eq!(
        asked(&["--provenance", "--sbom=generator=a/b"]),
        pairs(&[("attest:provenance", ""), ("attest:sbom", "generator=a/b")])
    );
    assert_eq!(
        asked(&["--attest=type=provenance,mode=min,\"builder-id=a,b\""]),
        pairs(&[("attest:provenance", "mode=min,\"builder-id=a,b\"")])
    );
    assert_eq!(asked(&["--attest=type=sbom,disabled=true"]), []);
    for line in [
        &["--attest=mode=min"][..],
        &["--attest=type=other"],
        &["--attest=type=sbom,x"],
        &["--attest=type=sbom,disabled=perhaps"],
        &["--attest=type=provenance", "--provenance"],
        &["--provenance=mode=some"],
    ] {
        assert!(read(line).is_err(), "{line:?}");
    }
}

#[test]
fn values_that_cannot_be_used_are_refused() {
    for line in [
        "--push",
        "--tag=A",
        "--tag=a@sha256:1",
        "--network=bridge",
        "--platform=what",
        "--add-host=a",
        "--add-host=a:b",
        "--shm-size=x",
        "--shm-size=99999999999t",
        "--ulimit=nofile",
        "--build-arg==x",
        "--label==x",
        "--allow=everything",
        "--secret=src=a",
        "--build-context=lib=nowhere",
        "--build-context=lib",
        "--output=type=unknown",
    ] {
        assert!(read(&[line]).is_err(), "{line}");
    }
}
