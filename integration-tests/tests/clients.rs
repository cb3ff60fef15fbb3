//! The programs in clients/ build against cooperd: an ordinary gRPC client is all that it takes.
//!
//! `scripts/test-clients` installs what they need and runs this.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use integration_tests::image::unpack_oci;
use integration_tests::peers::Cooperd;
use integration_tests::sandbox::{Sandbox, finish, path, repository, succeed};
use sha2::{Digest, Sha256};

const DOCKERFILE: &str = r#"
FROM scratch AS base
COPY --from=host busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]

FROM base AS dev
ARG WHO=nobody
COPY . /src
COPY current /released
RUN echo "hello $WHO" > /greeting

FROM base
RUN echo "about to fail" && false
"#;

/// A context with what a client has to get right: patterns with exceptions, links, modes, names that are not ASCII.
fn context(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder.join("kept/deep"))?;
    fs::create_dir_all(folder.join("dropped"))?;
    fs::write(folder.join("Dockerfile"), DOCKERFILE)?;
    fs::write(
        folder.join(".dockerignore"),
        "dropped\n!dropped/back\n**/*.log\nkept/d*p/??e\n",
    )?;
    for (name, text) in [
        ("kept/a.txt", "a"),
        ("kept/grüße.txt", "umlauts"),
        ("kept/noise.log", "noise"),
        ("kept/deep/one", "1"),
        ("kept/deep/three", "3"),
        ("dropped/gone", "gone"),
        ("dropped/back", "back"),
        ("version-2", "second"),
    ] {
        fs::write(folder.join(name), text)?;
    }
    // More than one chunk, and more than HTTP/2's first window.
    fs::write(folder.join("kept/large"), vec![7_u8; 300_000])?;
    symlink("version-2", folder.join("current"))?;
    fs::hard_link(folder.join("kept/a.txt"), folder.join("kept/twin.txt"))?;
    Ok(())
}

/// Where Debian's static busybox is.
fn host_programs() -> Result<PathBuf> {
    let mut which = Command::new("sh");
    which.args(["-c", "dirname \"$(readlink -f \"$(command -v busybox)\")\""]);
    Ok(succeed(which)?.stdout.trim().into())
}

/// Builds with a client: the target arrives whole, is cached the second time, and a failure is said and leaves no file.
fn builds(client: impl Fn() -> Command) -> Result<()> {
    let sandbox = Sandbox::new()?;
    let daemon = Cooperd::start(&sandbox.path("daemon"))?;
    let folder = sandbox.path("context");
    context(&folder)?;
    let host = format!("host={}", host_programs()?.display());
    let build = |target: &str, output: &Path| {
        let mut command = client();
        command
            .args(["--addr", &daemon.address(), "--build-context", &host])
            .args(["--build-arg", "WHO=you", "--type", "oci"])
            .args(["--target", target, "-t", "clients:1", "-o", path(output)])
            .arg(&folder);
        command
    };

    let first = sandbox.path("first.tar");
    let built = succeed(build("dev", &first))?;
    assert!(
        built.stdout.contains("containerimage.digest=sha256:"),
        "no digest in {}",
        built.stdout
    );
    assert!(
        built.stderr.contains("[dev 3/3] RUN echo"),
        "no progress in {}",
        built.stderr
    );
    let (_, tree) = unpack_oci(&first, &sandbox.path("unpacked"))?;
    let names: Vec<&str> = tree
        .keys()
        .filter_map(|name| name.strip_prefix("/src/"))
        .collect();
    assert_eq!(
        names,
        [
            ".dockerignore",
            "Dockerfile",
            "current",
            "dropped",
            "dropped/back",
            "kept",
            "kept/a.txt",
            "kept/deep",
            "kept/deep/three",
            "kept/grüße.txt",
            "kept/large",
            "kept/twin.txt",
            "version-2",
        ]
    );
    assert_eq!(tree["/greeting"].content, hash(b"hello you\n"));
    assert_eq!(tree["/released"].content, hash(b"second"));
    assert_eq!(tree["/src/kept/large"].content, hash(&vec![7_u8; 300_000]));
    assert_eq!(tree["/src/current"].target, "version-2");

    let again = succeed(build("dev", &sandbox.path("again.tar")))?;
    assert!(
        again.stderr.contains("CACHED"),
        "nothing was cached: {}",
        again.stderr
    );

    let failed_output = sandbox.path("failed.tar");
    let failed = finish(
        build("", &failed_output)
            .output()
            .context("starting the client")?,
    )?;
    assert_eq!(failed.code, 1, "{}", failed.stderr);
    assert!(
        failed.stderr.contains("about to fail"),
        "no output of the step: {}",
        failed.stderr
    );
    assert!(
        failed.stderr.contains("exit code: 1"),
        "no reason: {}",
        failed.stderr
    );
    assert!(!failed_output.exists(), "a failed build left a result");
    Ok(())
}

fn hash(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn clients(language: &str) -> PathBuf {
    repository().join("clients").join(language)
}

#[test]
fn go_client_builds() -> Result<()> {
    builds(|| Command::new(clients("go").join("cooper-client")))
}

#[test]
fn python_client_builds() -> Result<()> {
    let folder = clients("python");
    builds(|| {
        let mut command = Command::new(folder.join(".venv/bin/python"));
        command
            .args(["-m", "cooper_client.build"])
            .env("PYTHONPATH", &folder);
        command
    })
}

#[test]
fn typescript_client_builds() -> Result<()> {
    let folder = clients("typescript");
    builds(|| {
        let mut command = Command::new(folder.join("node_modules/.bin/tsx"));
        command.arg(folder.join("src/build.ts"));
        command
    })
}
