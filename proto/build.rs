//! Compiles our .proto files with protox, so that no protoc is needed.

use std::{env, error::Error, fs, path::PathBuf};

/// All files, in reading order. Imports are found by their paths below `proto/`.
const FILES: &[&str] = &[
    "ops.proto",
    "control.proto",
    "worker.proto",
    "source_policy.proto",
    "policy_session.proto",
    "gateway.proto",
    "caps.proto",
    "errdefs.proto",
    "stack.proto",
    "fsutil.proto",
    "filesync.proto",
    "auth.proto",
    "secrets.proto",
    "ssh_forward.proto",
    "upload.proto",
    "session_exporter.proto",
    "content.proto",
    "trace_service.proto",
    "cooper.proto",
    "google/rpc/status.proto",
];

/// Messages that carry bulk data: decoding them shares the received buffer.
const SHARED_BYTES: &[&str] = &[
    ".moby.buildkit.v1.BytesMessage",
    ".moby.buildkit.v1.VertexLog",
    ".moby.filesync.v1.BytesMessage",
    ".moby.sshforward.v1.BytesMessage",
    ".moby.upload.v1.BytesMessage",
    ".moby.buildkit.v1.frontend.FdMessage",
    ".moby.buildkit.v1.frontend.ReadFileResponse",
    ".fsutil.types.Packet.data",
    ".containerd.services.content.v1.ReadContentResponse",
    ".containerd.services.content.v1.WriteContentRequest",
    ".cooper.v1.ImagesRequest",
];

#[expect(
    clippy::disallowed_methods,
    reason = "cargo gives a build script its folder in the environment"
)]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin");
    fs::write(out, prost::Message::encode_to_vec(&descriptors))?;
    let mut builder = tonic_prost_build::configure()
        // Maps are ordered so that the same value always encodes to the same bytes.
        .btree_map(".")
        .include_file("generated.rs");
    for path in SHARED_BYTES {
        builder = builder.bytes(path);
    }
    builder.compile_fds(descriptors)?;
    Ok(())
}
