//! The images that exist.

use cooper_core::ports::{ImageQuery, ResolvedImage};
use cooper_proto::Digest;

const HISTORY: &str = r#"[{"created":"2024-05-01T10:00:00.1Z","created_by":"BusyBox 1.36.1","comment":"debuerreotype"}]"#;
const CONFIG: &str = r#"{"Env":["PATH=/usr/bin:/bin"],"Cmd":["sh"]}"#;
const LAYERS: &str =
    r#"["sha256:1111111111111111111111111111111111111111111111111111111111111111"]"#;
const PINNED: &str = "@sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d";

/// Defaults and commands of every kind.
const WITH_CMD: &str = r#"{"User":"app:app","Env":["FOO=bar","NOVALUE","PATH=/p"],"Cmd":["c"],"Entrypoint":["e"],"WorkingDir":"/srv/app","Labels":{"x":"y"},"ExposedPorts":{"1/tcp":{}},"Volumes":{"/v":{}},"Shell":["/bin/ash","-c"],"StopSignal":"SIGTERM","Healthcheck":{"Test":["CMD","x"],"Interval":30000000000,"Retries":3},"ArgsEscaped":true}"#;

/// Labels that other systems act on.
const LABELLED: &str = r#"{"Env":["PATH=/usr/bin:/bin"],"Cmd":["sh"],"Labels":{"containerd.io/distribution.source.docker.io":"../../etc","containerd.io/gc.ref.content.0":"sha256:0000000000000000000000000000000000000000000000000000000000000000","containerd.io/snapshot.ref":"x","com.docker.network":"host","moby.buildkit.frontend.network.none":"true","moby.buildkit.frontend.caps":"security.insecure","io.buildah.capabilities":"CAP_SYS_ADMIN","devcontainer.metadata":"[{\"privileged\":true}]"}}"#;

/// Triggers, one of which reads from another image and one of which has a heredoc.
const ONBUILD: &str = r#"{"Env":["PATH=/p"],"WorkingDir":"/w","OnBuild":["ARG V=2","RUN trigger $V","COPY . /src","COPY --from=busybox /bin/sh /sh","COPY <<EOF /x\nbody $V\nEOF"]}"#;

/// The image that a query asks for.
pub(crate) fn find(query: &ImageQuery) -> Option<ResolvedImage> {
    let name = query.reference.strip_prefix("docker.io/library/")?;
    let arm = query
        .platform
        .as_ref()
        .is_some_and(|platform| platform.architecture == "arm64");
    let config = match name {
        "busybox:latest" if arm => config("arm64", CONFIG, HISTORY, LAYERS, r#","variant":"v8""#),
        "busybox:latest" | "busybox:other" => config("amd64", CONFIG, HISTORY, LAYERS, ""),
        "labelled:latest" => config("amd64", LABELLED, HISTORY, LAYERS, ""),
        "withcmd:latest" => config("amd64", WITH_CMD, HISTORY, LAYERS, r#","author":"someone""#),
        "onbuild:latest" => config("amd64", ONBUILD, HISTORY, LAYERS, ""),
        "nolayers:latest" => config(
            "amd64",
            CONFIG,
            r#"[{"created_by":"x","empty_layer":true}]"#,
            "[]",
            "",
        ),
        other if other == format!("busybox:1{PINNED}") || other == format!("base{PINNED}") => {
            config("amd64", CONFIG, HISTORY, LAYERS, "")
        }
        _ => return None,
    };
    Some(ResolvedImage {
        reference: query.reference.clone(),
        digest: Digest::sha256_of(&config),
        config: config.into(),
    })
}

fn config(architecture: &str, config: &str, history: &str, layers: &str, more: &str) -> String {
    format!(
        r#"{{"architecture":"{architecture}","os":"linux","config":{config},"created":"2024-05-01T10:00:00.120Z","history":{history},"rootfs":{{"type":"layers","diff_ids":{layers}}}{more}}}"#
    )
}
