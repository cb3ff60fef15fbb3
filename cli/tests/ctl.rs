//! `cooper ctl` does what buildctl does. Needs root and busybox-static.

#![expect(
    clippy::unwrap_used,
    reason = "clippy.toml lets tests unwrap, but not functions that tests call"
)]

#[expect(dead_code, reason = "each test program needs a part of it")]
mod bench;

use std::process::Stdio;

use bench::place::{Bench, signal, stderr, with_input};
use cooper_proto::{Digest, pb};
use prost::Message;
use rustix::process::Signal;
use serde_json::Value;

/// A graph of one file with this content.
fn graph(content: &str) -> Vec<u8> {
    let file = pb::FileActionMkFile {
        path: "/made".to_owned(),
        data: content.as_bytes().to_vec(),
        mode: 0o644,
        timestamp: -1,
        ..pb::FileActionMkFile::default()
    };
    let action = pb::FileAction {
        input: -1,
        secondary_input: -1,
        output: 0,
        action: Some(pb::file_action::Action::Mkfile(file)),
    };
    let op = pb::Op {
        op: Some(pb::op::Op::File(pb::FileOp {
            actions: vec![action],
        })),
        platform: Some(cooper_proto::platform::host()),
        ..pb::Op::default()
    };
    let bytes = op.encode_to_vec();
    let digest = Digest::sha256_of(&bytes).to_string();
    let end = pb::Op {
        inputs: vec![pb::Input { digest, index: 0 }],
        ..pb::Op::default()
    };
    let definition = pb::Definition {
        def: vec![bytes, end.encode_to_vec()],
        ..pb::Definition::default()
    };
    definition.encode_to_vec()
}

#[test]
fn graph_on_standard_input_is_built() {
    for bench in Bench::both() {
        let options = ["ctl", "build", "-o=type=local,dest=out", "--ref-file=ref"];
        let more = [
            "--trace=trace",
            "--metadata-file=metadata",
            "--progress=plain",
        ];
        let built = with_input(bench.command(&[&options[..], &more].concat()), &graph("hi"));
        assert!(built.status.success(), "{}{}", stderr(&built), bench.log());
        assert_eq!(bench.read("out/made"), "hi");
        let listed = bench.succeed(bench.command(&["ctl", "debug", "histories"]));
        assert!(listed.contains(&bench.read("ref")), "{listed}");
        let news: Value =
            serde_json::from_str(bench.read("trace").lines().next().unwrap()).unwrap();
        assert!(news["vertexes"].is_array(), "{news}");
        assert_eq!(bench.read("metadata"), "{}");
        let empty = with_input(bench.command(&["ctl", "build"]), b"");
        assert!(stderr(&empty).contains("empty"), "{}", stderr(&empty));
        let wrong = with_input(bench.command(&["ctl", "build"]), b"no graph");
        assert_eq!(wrong.status.code(), Some(1));
    }
}

/// A graph that a file of the client's folder `defs` holds.
fn graph_in(file: &str) -> Vec<u8> {
    let source = pb::Op {
        op: Some(pb::op::Op::Source(pb::SourceOp {
            identifier: "local://defs".to_owned(),
            ..pb::SourceOp::default()
        })),
        ..pb::Op::default()
    }
    .encode_to_vec();
    let on = |op: &[u8]| pb::Input {
        digest: Digest::sha256_of(op).to_string(),
        index: 0,
    };
    let input = (
        "buildkit.llb.definition".to_owned(),
        pb::BuildInput { input: 0 },
    );
    let build = pb::Op {
        inputs: vec![on(&source)],
        op: Some(pb::op::Op::Build(pb::BuildOp {
            builder: -1,
            inputs: [input].into(),
            attrs: [("llbbuild.filename".to_owned(), file.to_owned())].into(),
            ..pb::BuildOp::default()
        })),
        ..pb::Op::default()
    }
    .encode_to_vec();
    let end = pb::Op {
        inputs: vec![on(&build)],
        ..pb::Op::default()
    };
    let definition = pb::Definition {
        def: vec![source, build, end.encode_to_vec()],
        ..pb::Definition::default()
    };
    definition.encode_to_vec()
}

#[test]
fn graph_in_a_file_is_built_and_built_again_when_the_file_changes() {
    for bench in Bench::both() {
        std::fs::create_dir_all(bench.file("defs/sub")).unwrap();
        let build = |file: &str| {
            let command = [
                "ctl",
                "build",
                "--local=defs=defs",
                "-o=type=local,dest=out",
            ];
            with_input(
                bench.command(&[&command[..], &["--progress=plain"]].concat()),
                &graph_in(file),
            )
        };
        let keep = |file: &str, bytes: &[u8]| std::fs::write(bench.file(file), bytes).unwrap();
        let refused = |file: &str, words: &str| {
            let built = build(file);
            let said = stderr(&built);
            assert!(!built.status.success() && said.contains(words), "{said}");
        };
        keep("defs/sub/graph", &graph("one"));
        for content in ["one", "two"] {
            keep("defs/sub/graph", &graph(content));
            let built = build("/sub/graph");
            assert!(built.status.success(), "{}{}", stderr(&built), bench.log());
            assert_eq!(bench.read("out/made"), content);
        }
        // A link inside the result is followed inside it.
        std::os::unix::fs::symlink("/sub/graph", bench.file("defs/link")).unwrap();
        let built = build("link");
        assert!(built.status.success(), "{}{}", stderr(&built), bench.log());
        keep("defs/within", &graph_in("link"));
        let built = build("within");
        assert!(built.status.success(), "{}{}", stderr(&built), bench.log());
        refused("missing", "missing: no such file or directory");
        refused("sub", "sub");
        keep("defs/noise", b"no graph");
        refused("noise", "the definition in noise cannot be read");
        keep("defs/circle", &graph_in("circle"));
        refused("circle", "needs the build op that reads it");
    }
}

#[test]
fn frontend_is_asked_with_options_and_folders() {
    for bench in Bench::both() {
        bench.write(
            "Dockerfile",
            "FROM scratch AS one\nARG A\nCOPY Dockerfile /$A\nFROM scratch\n",
        );
        let frontend = [
            "ctl",
            "build",
            "--frontend=dockerfile.v0",
            "--local=context=.",
        ];
        let ask = |more: &[&str]| {
            let mut command =
                bench.command(&[&frontend[..], &["--local=dockerfile=."], more].concat());
            command.env("A", "named");
            bench.succeed(command)
        };
        ask(&[
            "--opt=target=one",
            "--opt=build-arg:A",
            "--output=type=local,dest=out",
        ]);
        assert!(bench.file("out/named").exists());
        let archive = ask(&[
            "--opt=build-arg:A=a",
            "--output=type=oci,dest=a.tar",
            "--no-cache",
        ]);
        assert!(archive.is_empty() && bench.file("a.tar").exists());
        let targets = ask(&["--opt=requestid=frontend.targets"]);
        assert!(targets.contains("one"), "{targets}");
        bench.write(
            "policy",
            r#"{"rules":[{"action":"DENY","selector":{"identifier":"local://*"}}]}"#,
        );
        let denied = [
            &frontend[..],
            &["--local=dockerfile=.", "--source-policy-file=policy"][..],
        ];
        let said = bench.fail(bench.command(&denied.concat()), 1);
        assert!(
            said.to_lowercase().contains("policy") || said.contains("denied"),
            "{said}"
        );
        let said = bench.fail(
            bench.command(&["ctl", "build", "--frontend=x", "--opt=a"]),
            1,
        );
        assert!(said.contains("no NAME=VALUE"), "{said}");
    }
}

#[test]
fn cache_is_listed_and_pruned() {
    for bench in Bench::both() {
        bench.dockerfile("RUN echo listed > /listed\n");
        bench.succeed(bench.build(&["-o=out", "."]));
        let listed = || {
            let text = bench.succeed(bench.command(&["ctl", "du", "--format={{json .}}"]));
            serde_json::from_str::<Vec<Value>>(&text).unwrap()
        };
        let before = listed();
        let is_step = |record: &Value| {
            record["description"]
                .as_str()
                .is_some_and(|text| text.contains("echo listed"))
        };
        assert!(before.iter().any(is_step), "{before:?}");
        let verbose = bench.succeed(bench.command(&["ctl", "du", "-v"]));
        assert!(
            verbose.contains("Description:") && verbose.contains("Total:"),
            "{verbose}"
        );
        let step = "--filter=description~=.*echo.listed.*";
        let kept = ["ctl", "prune", "--keep-duration=10h", step];
        assert_eq!(bench.succeed(bench.command(&kept)), "Total:   0B\n");
        assert!(listed().iter().any(is_step));
        let some = ["ctl", "prune", step, "--format=json"];
        let removed = bench.succeed(bench.command(&some));
        assert!(removed.contains("echo listed"), "{removed}");
        assert!(!listed().iter().any(is_step));
        bench.succeed(bench.command(&["ctl", "prune", "--all"]));
        let none = bench.succeed(bench.command(&["ctl", "du", "--filter", "type==regular"]));
        assert!(!none.contains("Total"), "{none}");
        let template = bench.fail(bench.command(&["ctl", "du", "--format={{.ID}}"]), 1);
        assert!(
            template.contains("templates are not supported yet"),
            "{template}"
        );
    }
}

#[test]
fn builds_are_remembered_pinned_and_forgotten() {
    for bench in Bench::both() {
        bench.dockerfile("RUN echo remembered\n");
        bench.succeed(bench.build(&["--metadata-file=metadata", "."]));
        let metadata: Value = serde_json::from_str(&bench.read("metadata")).unwrap();
        let build = metadata["buildx.build.ref"].as_str().unwrap();
        let debug =
            |more: &[&str]| bench.succeed(bench.command(&[&["ctl", "debug"], more].concat()));
        assert!(debug(&["logs", build]).contains("remembered"));
        let lines = debug(&["histories", "--format=json"]);
        let event: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
        assert_eq!(event["record"]["Ref"], build);
        let logs = event["record"]["logs"]["digest"].as_str().unwrap();
        let blob = bench.command(&["ctl", "debug", "get", logs]).output();
        assert!(String::from_utf8_lossy(&blob.unwrap().stdout).contains("remembered"));
        debug(&["ctl", "--pin", build]);
        bench.succeed(bench.command(&["ctl", "prune-histories"]));
        assert!(
            debug(&["histories"]).contains(build),
            "a pinned record stays"
        );
        debug(&["ctl", "--unpin", build]);
        bench.succeed(bench.command(&["ctl", "prune-histories"]));
        assert!(!debug(&["histories"]).contains(build));
        let gone = bench.fail(
            bench.command(&["ctl", "debug", "ctl", "--delete", build]),
            1,
        );
        assert!(gone.contains(build), "{gone}");
    }
}

#[test]
fn monitor_tells_of_builds_until_it_is_interrupted() {
    let bench = Bench::daemon();
    bench.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    bench.succeed(bench.build(&["."]));
    let mut monitor = bench.command(&["ctl", "debug", "monitor", "--completed"]);
    let mut monitor = monitor.stdout(Stdio::piped()).spawn().unwrap();
    let stdout = monitor.stdout.take().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stdout));
    assert!(lines.any(|line| line.unwrap().starts_with("event: COMPLETE ref:")));
    signal(&monitor, Signal::INT);
    assert_eq!(monitor.wait().unwrap().code(), Some(130));
}

#[test]
fn engine_says_what_it_is() {
    for bench in Bench::both() {
        let info = bench.succeed(bench.command(&["ctl", "debug", "info"]));
        assert!(
            info.contains("cooper") && info.contains("Dockerfile:"),
            "{info}"
        );
        let workers = bench.succeed(bench.command(&["ctl", "debug", "workers", "--verbose"]));
        assert!(
            workers.contains("Platforms:") && workers.contains("linux/"),
            "{workers}"
        );
        let json = bench.succeed(bench.command(&["ctl", "debug", "workers", "--format=json"]));
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json[0]["platforms"][0]["os"], "linux");
        let none = ["ctl", "debug", "workers", "--filter=id==nobody"];
        assert_eq!(bench.succeed(bench.command(&none)), "ID   PLATFORMS\n");
    }
}

#[test]
fn graphs_are_shown_without_an_engine() {
    let bench = Bench::without_place();
    std::fs::write(bench.file("graph"), graph("x")).unwrap();
    let nowhere = [
        "--addr=unix:///nowhere",
        "ctl",
        "debug",
        "dump-llb",
        "graph",
    ];
    let show = |more: &[&str]| bench.succeed(bench.command(&[&nowhere, more].concat()));
    let op: Value = serde_json::from_str(show(&[]).lines().next().unwrap()).unwrap();
    assert!(
        op["Digest"].as_str().unwrap().starts_with("sha256:"),
        "{op}"
    );
    assert!(show(&["--dot"]).contains("mkfile{path=/made}"));
    assert!(show(&["--svg"]).contains("mkfile{path=/made}"));
    let said = bench.fail(bench.command(&["ctl", "debug", "dump-llb", "missing"]), 1);
    assert!(said.contains("cannot read"), "{said}");
}
