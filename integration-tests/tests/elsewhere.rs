//! What we build is taken, unpacked and run by other programs.

use std::fs;

use anyhow::Result;
use integration_tests::image::{command, unpack_oci};
use integration_tests::peers::Dockerd;
use integration_tests::sandbox::{Sandbox, path, succeed};

const DOCKERFILE: &str = r#"
FROM busybox AS builder
WORKDIR /out
RUN echo 'echo "hello from $(whoami) in $(pwd)"' > greet && chmod 755 greet && ln -s greet alias && ln greet twin
FROM busybox
COPY --from=builder /out /app
ENV GREETING=hello
LABEL maker=cooper
WORKDIR /app
USER nobody
CMD ["sh", "-c", "./greet"]
"#;

fn built(sandbox: &Sandbox, output: &str) -> Result<()> {
    let context = sandbox.path("context");
    fs::create_dir_all(&context)?;
    fs::write(context.join("Dockerfile"), DOCKERFILE)?;
    sandbox.succeed([
        "build",
        "--progress",
        "plain",
        "-t",
        "greeter:1",
        "--output",
        output,
        path(&context),
    ])?;
    Ok(())
}

#[test]
fn oci_output_is_taken_by_skopeo_and_umoci() -> Result<()> {
    let sandbox = Sandbox::with_busybox()?;
    let archive = sandbox.path("greeter.oci.tar");
    built(&sandbox, &format!("type=oci,dest={}", path(&archive)))?;

    let copy = sandbox.path("copied");
    succeed(command(
        "skopeo",
        &[
            "--insecure-policy",
            "copy",
            &format!("oci-archive:{}", path(&archive)),
            &format!("dir:{}", path(&copy)),
        ],
    ))?;
    assert!(
        copy.join("manifest.json").exists(),
        "skopeo wrote no manifest"
    );

    let (config, tree) = unpack_oci(&archive, &sandbox.path("umoci"))?;
    assert_eq!(config["config"]["User"], "nobody");
    assert_eq!(config["config"]["Labels"]["maker"], "cooper");
    assert_eq!(tree["/app/alias"].target, "greet");
    assert_eq!(tree["/app/greet"].mode, 0o755);
    assert_eq!(tree["/app/greet"].hard_links, ["/app/twin"]);
    Ok(())
}

#[test]
fn docker_output_is_loaded_and_run_by_dockerd() -> Result<()> {
    let sandbox = Sandbox::with_busybox()?;
    let archive = sandbox.path("greeter.docker.tar");
    built(&sandbox, &format!("type=docker,dest={}", path(&archive)))?;

    let engine = Dockerd::start(&sandbox.path("docker"))?;
    let loaded = engine.docker(&["load", "--input", path(&archive)])?;
    assert!(
        loaded.contains("greeter:1"),
        "docker load named something else: {loaded}"
    );
    let said = engine.docker(&["run", "--rm", "--network", "none", "greeter:1"])?;
    assert_eq!(said.trim(), "hello from nobody in /app");
    let history = engine.docker(&[
        "history",
        "--no-trunc",
        "--format",
        "{{.CreatedBy}}",
        "greeter:1",
    ])?;
    assert!(
        history.contains("COPY /out /app # buildkit"),
        "docker shows another history:\n{history}"
    );
    Ok(())
}

#[test]
fn docker_output_is_taken_by_skopeo() -> Result<()> {
    let sandbox = Sandbox::with_busybox()?;
    let archive = sandbox.path("greeter.docker.tar");
    built(&sandbox, &format!("type=docker,dest={}", path(&archive)))?;
    let said = succeed(command(
        "skopeo",
        &[
            "inspect",
            "--config",
            &format!("docker-archive:{}", path(&archive)),
        ],
    ))?;
    let config: serde_json::Value = serde_json::from_str(&said.stdout)?;
    assert_eq!(config["config"]["WorkingDir"], "/app");
    Ok(())
}
