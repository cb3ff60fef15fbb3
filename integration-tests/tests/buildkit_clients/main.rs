//! BuildKit's own clients, `buildctl` and `docker buildx` with its remote driver, drive cooperd unchanged.
//!
//! `scripts/test-clients` builds them in the versions of `integration-tests/clients/go.mod` and runs this.

mod buildctl;
mod buildx;
mod credentials;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;
use integration_tests::image::command;
use integration_tests::peers::Cooperd;
use integration_tests::registry::Registry;
use integration_tests::sandbox::{Sandbox, path, repository, succeed};

const DOCKERFILE: &str = r#"
FROM scratch AS base
COPY --from=host busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]

FROM base AS left
RUN echo left > /left

FROM base AS broken
RUN echo "about to fail" && false

FROM base AS final
COPY --from=left /left /left
COPY hello /hello
RUN cat /left /hello > /both
CMD ["cat", "/both"]
"#;

/// The lines of `buildctl build` that say what is built from where; a fixed time makes equal images equal.
fn build_arguments(context: &Path, host: &Path) -> Vec<String> {
    let arguments = [
        "build",
        "--progress=plain",
        "--frontend=dockerfile.v0",
        "--opt=build-arg:SOURCE_DATE_EPOCH=1",
        "--opt=context:host=local:host",
        &format!("--local=context={}", path(context)),
        &format!("--local=dockerfile={}", path(context)),
        &format!("--local=host={}", path(host)),
    ];
    arguments.map(str::to_owned).to_vec()
}

/// A folder with a Dockerfile, and the folder of the machine's static busybox.
fn context(sandbox: &Sandbox) -> Result<(PathBuf, PathBuf)> {
    let folder = sandbox.path("context");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("Dockerfile"), DOCKERFILE)?;
    fs::write(folder.join("hello"), "hello\n")?;
    let which = command(
        "sh",
        &["-c", "dirname \"$(readlink -f \"$(command -v busybox)\")\""],
    );
    Ok((folder, succeed(which)?.stdout.trim().into()))
}

fn client(name: &str) -> PathBuf {
    repository()
        .join("integration-tests/clients/bin")
        .join(name)
}

fn buildctl<I: AsRef<std::ffi::OsStr>>(
    daemon: &Cooperd,
    arguments: impl IntoIterator<Item = I>,
) -> Command {
    let mut command = Command::new(client("buildctl"));
    command
        .args(["--addr", &daemon.address()])
        .args(arguments)
        .stdin(Stdio::null());
    command
}

/// The digest of an image in a registry on the loopback.
fn digest_in(registry: &Registry, name: &str) -> Result<String> {
    let image = format!("docker://{}/{name}", registry.address());
    let inspect = [
        "inspect",
        "--tls-verify=false",
        "--format={{.Digest}}",
        &image,
    ];
    Ok(succeed(command("skopeo", &inspect))?
        .stdout
        .trim()
        .to_owned())
}

/// Whether a step is said to come from the cache: its number, and with it the word.
fn is_cached(progress: &str, step: &str) -> bool {
    let Some(number) = progress
        .lines()
        .find(|line| line.contains(step))
        .and_then(|line| line.split(' ').next())
    else {
        return false;
    };
    progress
        .lines()
        .any(|line| line == format!("{number} CACHED"))
}
