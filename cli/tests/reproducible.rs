//! Examples give the same image wherever and whenever they are built. Needs root, busybox-static and git.

#![expect(
    clippy::unwrap_used,
    reason = "clippy.toml lets tests unwrap, but not functions that tests call"
)]

#[expect(dead_code, reason = "each test program needs a part of it")]
mod bench;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use bench::place::Bench;
use bench::server::Server;
use serde_json::Value;

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program)
        .args(arguments)
        .env("GIT_COMMITTER_DATE", "1700000000 +0000")
        .env("GIT_AUTHOR_DATE", "1700000000 +0000")
        .status()
        .unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

/// What is built, and how it is told which time to put into the image.
struct Form {
    context: String,
    argument: Option<&'static str>,
    variable: Option<&'static str>,
}

/// The digest of the image that a state folder of its own gives.
fn digest(form: &Form) -> String {
    let bench = Bench::embedded();
    let mut arguments = vec![
        "-o=type=oci,rewrite-timestamp=true,dest=image.tar",
        "--metadata-file=metadata",
    ];
    if let Some(argument) = form.argument {
        arguments.extend(["--build-arg", argument]);
    }
    arguments.push(&form.context);
    let mut build = bench.build(&arguments);
    if let Some(value) = form.variable {
        build.env("SOURCE_DATE_EPOCH", value);
    }
    bench.succeed(build);
    let metadata: Value = serde_json::from_str(&bench.read("metadata")).unwrap();
    metadata["containerimage.digest"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn example_gives_one_image_for_every_form_of_the_epoch() {
    let bench = Bench::without_place();
    let example = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/quickstart");
    let copy = bench.path("quickstart");
    let (copy, repository) = (copy.to_str().unwrap(), bench.path("repositories/app.git"));
    run("cp", &["-r", example.to_str().unwrap(), copy]);
    run(
        "git",
        &["-C", copy, "-c", "init.defaultBranch=main", "init", "-q"],
    );
    run("git", &["-C", copy, "add", "."]);
    let me = [
        "-C",
        copy,
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@example.com",
    ];
    run("git", &[&me[..], &["commit", "-q", "-m", "x"]].concat());
    run(
        "git",
        &["clone", "-q", "--bare", copy, repository.to_str().unwrap()],
    );
    let server = Server::start(BTreeMap::new(), &bench.path("repositories"));
    let local = |argument, variable| Form {
        context: copy.to_owned(),
        argument,
        variable,
    };
    let remote = |argument, variable| Form {
        context: server.address("/git/app.git#main"),
        argument,
        variable,
    };
    let forms = [
        local(Some("SOURCE_DATE_EPOCH=1700000000"), None),
        local(None, Some("1700000000")),
        // What is typed goes before what was exported.
        local(Some("SOURCE_DATE_EPOCH=1700000000"), Some("1")),
        remote(Some("SOURCE_DATE_EPOCH=1700000000"), None),
        remote(Some("SOURCE_DATE_EPOCH=context"), None),
        remote(None, Some("context")),
    ];
    let digests: Vec<String> = forms.iter().map(digest).collect();
    assert!(digests.iter().all(|it| it == &digests[0]), "{digests:?}");
    let other = digest(&local(None, Some("1600000000")));
    assert_ne!(other, digests[0], "the time is in the image");
}
