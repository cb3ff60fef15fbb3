//! Contexts and Dockerfiles that are not on the client's disk. Needs root, busybox-static and git.

#![expect(
    clippy::unwrap_used,
    reason = "clippy.toml lets tests unwrap, but not functions that tests call"
)]

#[expect(dead_code, reason = "each test program needs a part of it")]
mod bench;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use bench::place::{Bench, stderr, with_input};
use bench::server::Server;

const COPY_ALL: &str = "FROM scratch\nCOPY . /\n";

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=a", "-c", "user.email=a@example.com"])
        .args([
            "-c",
            "protocol.file.allow=always",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_AUTHOR_DATE", "1700000000 +0000")
        .env("GIT_COMMITTER_DATE", "1700000000 +0000")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        stderr(&output)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A repository whose branches and tags say what they are in the file `version`.
struct Repository {
    first: String,
}

fn repository(bench: &Bench) -> Repository {
    let work = bench.path("work");
    std::fs::create_dir_all(work.join("sub/deep")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(work.join(name), text).unwrap();
    let commit = |version: &str| {
        write("version", version);
        write("sub/version", &format!("{version} sub"));
        git(&work, &["add", "."]);
        git(&work, &["commit", "-q", "-m", version]);
    };
    git(&work, &["init", "-q"]);
    write("Dockerfile", COPY_ALL);
    write("sub/Dockerfile", COPY_ALL);
    write(
        "sub/deep/other.Dockerfile",
        "FROM scratch\nCOPY version /other\n",
    );
    commit("first");
    git(&work, &["tag", "v1"]);
    let first = git(&work, &["rev-parse", "HEAD"]);
    git(&work, &["checkout", "-q", "-b", "dev"]);
    commit("dev");
    git(&work, &["checkout", "-q", "main"]);
    commit("main");
    let bare = bench.path("repositories/app.git");
    std::fs::create_dir_all(bare.parent().unwrap()).unwrap();
    git(
        &work,
        &["clone", "-q", "--bare", ".", bare.to_str().unwrap()],
    );
    git(&bare, &["config", "uploadpack.allowAnySHA1InWant", "true"]);
    Repository { first }
}

#[test]
fn repository_is_a_context_in_every_form_of_its_address() {
    let bench = Bench::embedded();
    let Repository { first } = repository(&bench);
    let server = Server::start(BTreeMap::new(), &bench.path("repositories"));
    let address = server.address("/git/app.git");
    for (form, expected) in [
        (String::new(), "main"),
        ("#dev".into(), "dev"),
        ("#v1".into(), "first"),
        ("#refs/heads/dev".into(), "dev"),
        (format!("#{first}"), "first"),
        ("#dev:sub".into(), "dev sub"),
        ("#:sub".into(), "main sub"),
        ("?branch=dev".into(), "dev"),
        ("?tag=v1".into(), "first"),
        ("?ref=dev&subdir=sub".into(), "dev sub"),
        (format!("?tag=v1&checksum={first}"), "first"),
        (format!("?commit={first}&fetch-by-commit=true"), "first"),
        ("?branch=dev&keep-git-dir=true".into(), "dev"),
        ("?branch=dev&submodules=false&mtime=commit".into(), "dev"),
    ] {
        let out = form.replace(['/', '?', '&', '#', ':', '='], "_") + "out";
        bench.succeed(bench.command(&["build", "-o", &out, &format!("{address}{form}")]));
        assert_eq!(bench.read(&format!("{out}/version")), expected, "{form}");
        let kept = bench.file(&out).join(".git").exists();
        assert_eq!(kept, form.contains("keep-git-dir"), "{form}");
    }
    let wrong = format!("{address}?tag=v1&checksum={}", "0".repeat(40));
    let said = bench.fail(bench.command(&["build", &wrong]), 1);
    assert!(said.contains("expected checksum"), "{said}");
    let said = bench.fail(
        bench.command(&["build", &format!("{address}?nonsense=1")]),
        1,
    );
    assert!(said.contains("nonsense"), "{said}");
}

#[test]
fn dockerfile_of_a_repository_is_named_or_comes_from_elsewhere() {
    for bench in Bench::both() {
        repository(&bench);
        let fetched = b"FROM scratch\nCOPY version /fetched\n".to_vec();
        let files = BTreeMap::from([("/x/Dockerfile".to_owned(), fetched)]);
        let server = Server::start(files, &bench.path("repositories"));
        let address = server.address("/git/app.git");
        let other = [
            "build",
            "-f",
            "sub/deep/other.Dockerfile",
            "-o=named",
            &address,
        ];
        bench.succeed(bench.command(&other));
        assert_eq!(bench.read("named/other"), "main");
        let input = bench.command(&["build", "-f", "-", "-o=input", &address]);
        let output = with_input(input, b"FROM scratch\nCOPY version /typed\n");
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(bench.read("input/typed"), "main");
        let url = server.address("/x/Dockerfile");
        bench.succeed(bench.command(&["build", "-f", &url, "-o=url", &address]));
        assert_eq!(bench.read("url/fetched"), "main");
        bench.write("version", "local");
        bench.succeed(bench.command(&["build", "-f", &url, "-o=local", "."]));
        assert_eq!(bench.read("local/fetched"), "local");
        let missing = server.address("/x/nothing");
        let said = bench.fail(bench.command(&["build", "-f", &missing, "."]), 1);
        assert!(
            said.contains(&format!("the Dockerfile {missing} cannot be fetched")),
            "{said}"
        );
    }
}

fn archive(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, name, content.as_bytes())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn archives_and_dockerfiles_by_url_are_contexts() {
    for bench in Bench::both() {
        let packed = archive(&[
            ("Dockerfile", COPY_ALL),
            ("file", "packed"),
            ("dev", COPY_ALL),
        ]);
        let files = BTreeMap::from([
            ("/context.tar".to_owned(), packed),
            (
                "/Dockerfile".to_owned(),
                b"FROM scratch\nCOPY context /itself\n".to_vec(),
            ),
        ]);
        let server = Server::start(files, Path::new("/nowhere"));
        let context = server.address("/context.tar");
        bench.succeed(bench.command(&["build", "-o=archive", &context]));
        assert_eq!(bench.read("archive/file"), "packed");
        bench.succeed(bench.command(&["build", "-f=dev", "-o=named", &context]));
        assert_eq!(bench.read("named/file"), "packed");
        let dockerfile = server.address("/Dockerfile");
        bench.succeed(bench.command(&["build", "-o=alone", &dockerfile]));
        assert!(bench.read("alone/itself").starts_with("FROM scratch"));
        bench.fail(
            bench.command(&["build", &server.address("/missing.tar")]),
            1,
        );
        let piped = archive(&[
            ("sub/other", "FROM scratch\nCOPY file /piped\n"),
            ("file", "p"),
        ]);
        let output = with_input(
            bench.command(&["build", "-f=sub/other", "-o=piped", "-"]),
            &piped,
        );
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(bench.read("piped/piped"), "p");
    }
}

#[test]
fn named_contexts_are_repositories_and_files_by_url_too() {
    for bench in Bench::both() {
        repository(&bench);
        let files = BTreeMap::from([("/lib.txt".to_owned(), b"packed".to_vec())]);
        let server = Server::start(files, &bench.path("repositories"));
        bench.write(
            "Dockerfile",
            "FROM scratch\nCOPY --from=app version /\nCOPY --from=lib . /lib\n",
        );
        let app = format!("app={}#dev", server.address("/git/app.git"));
        let lib = format!("lib={}", server.address("/lib.txt"));
        let contexts = ["build", "--build-context", &app, "--build-context", &lib];
        bench.succeed(bench.command(&[&contexts[..], &["-o=out", "."]].concat()));
        assert_eq!(bench.read("out/version"), "dev");
        assert_eq!(bench.read("out/lib/context"), "packed");
    }
}

#[test]
fn fix_is_refused_for_what_is_not_here() {
    let bench = Bench::embedded();
    let build = bench.command(&["build", "--check", "--fix", "https://host.invalid/a.git"]);
    let said = bench.fail(build, 1);
    assert!(
        said.contains("--fix changes a Dockerfile, and this one is not on this machine"),
        "{said}"
    );
}
