//! Images for several platforms, one of them emulated. Needs root, busybox-static, mmdebstrap, qemu-user-static,
//! docker-registry, skopeo and Debian's archive.

#![expect(
    clippy::unwrap_used,
    reason = "clippy.toml lets tests unwrap, but not functions that tests call"
)]

#[expect(dead_code, reason = "each test program needs a part of it")]
mod bench;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use bench::emulator::Emulator;
use bench::place::{Bench, stderr};
use bench::registry::Registry;
use serde_json::Value;

/// The root file system around busybox that scripts/base-busybox makes for an architecture.
fn base(bench: &Bench, architecture: &str) -> PathBuf {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scripts/base-busybox");
    let path = bench.path(&format!("{architecture}.tar"));
    let made = Command::new(script)
        .arg(architecture)
        .stdout(Stdio::from(std::fs::File::create(&path).unwrap()))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = made.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    path
}

fn skopeo(arguments: &[&str]) -> Value {
    let output = Command::new("skopeo").args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        stderr(&output)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The architectures that a manifest list has images for.
fn architectures(list: &Value) -> Vec<&str> {
    let manifests = list["manifests"].as_array().unwrap().iter();
    let mut all: Vec<_> = manifests
        .map(|manifest| manifest["platform"]["architecture"].as_str().unwrap())
        .collect();
    all.sort_unstable();
    all
}

#[test]
fn image_for_two_platforms_runs_its_steps_on_each_and_becomes_a_manifest_list() {
    let _emulator = Emulator::of_arm64();
    let bases = Bench::without_place();
    let bases = ["amd64", "arm64"].map(|it| (it, base(&bases, it), bases.path("")));
    for bench in Bench::both() {
        for (architecture, path, _) in &bases {
            let name = format!("base-{architecture}");
            let platform = format!("linux/{architecture}");
            let import = [
                "image",
                "import",
                "--platform",
                &platform,
                path.to_str().unwrap(),
                &name,
            ];
            bench.succeed(bench.command(&import));
        }
        bench.write(
            "Dockerfile",
            "ARG TARGETARCH\nFROM base-$TARGETARCH AS ran\nRUN uname -m > /machine\n\
             FROM scratch\nCOPY --from=ran /machine /\nCOPY --from=ran /bin/busybox /bin/\n",
        );
        let registry = Registry::start(&bench.path(""));
        let name = format!("{}/two:1", registry.address);
        let image = format!("type=image,push=true,name={name}");
        let build = [
            "build",
            "--platform=linux/amd64,linux/arm64",
            "-o=out",
            "-o=type=oci,dest=oci.tar,name=two:1",
            &format!("-o={image}"),
            ".",
        ];
        bench.succeed(bench.command(&build));
        assert_eq!(bench.read("out/linux_amd64/machine").trim(), "x86_64");
        assert_eq!(bench.read("out/linux_arm64/machine").trim(), "aarch64");
        let archive = format!("oci-archive:{}:1", bench.file("oci.tar").display());
        let pushed = format!("docker://{name}");
        for place in [&archive, &pushed] {
            let list = skopeo(&["inspect", "--tls-verify=false", "--raw", place]);
            assert_eq!(architectures(&list), ["amd64", "arm64"], "{place}: {list}");
            let arm = [
                "--override-arch=arm64",
                "inspect",
                "--tls-verify=false",
                "--config",
            ];
            let config = skopeo(&[&arm[..], &[place.as_str()]].concat());
            assert_eq!(config["architecture"], "arm64");
        }
        let one = [
            "build",
            "--platform=linux/arm64",
            "--target=ran",
            "-o=one",
            ".",
        ];
        bench.succeed(bench.command(&one));
        assert_eq!(bench.read("one/machine").trim(), "aarch64");
    }
}
