//! Which calls are tried: those of every service that the protocol's description names.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use cooper_proto::frontend;
use cooper_proto::{Digest, control, pb};
use prost::Message;
use prost_reflect::{DescriptorPool, MethodDescriptor};

/// What a daemon serves. The others of the description are what clients serve in their sessions.
pub(crate) const SERVED: [&str; 7] = [
    "containerd.services.content.v1.Content",
    "cooper.v1.Cooper",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "moby.buildkit.v1.Control",
    "moby.buildkit.v1.frontend.LLBBridge",
    "opentelemetry.proto.collector.trace.v1.TraceService",
];

/// The protocol's description.
pub(crate) fn description() -> Result<DescriptorPool> {
    let mut pool = DescriptorPool::decode(cooper_proto::FILE_DESCRIPTOR_SET)?;
    for more in [
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    ] {
        pool.decode_file_descriptor_set(more)?;
    }
    Ok(pool)
}

/// Where a method is called.
pub(crate) fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

/// A build that its client drives, and what it has, for calls that need them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Driven {
    /// The build's name.
    pub(crate) job: String,
    /// A result.
    pub(crate) result: String,
    /// A container that is open.
    pub(crate) container: String,
}

/// A name that nothing had before.
pub(crate) fn new_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("n{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Whether a call may last for as long as its client likes: there is always more to come.
pub(crate) fn may_go_on(path: &str) -> bool {
    [
        // A build that its client drives ends when the client says so.
        "/moby.buildkit.v1.Control/Solve",
        "/moby.buildkit.v1.Control/Status",
        "/moby.buildkit.v1.Control/Session",
        "/moby.buildkit.v1.Control/ListenBuildHistory",
        "/grpc.health.v1.Health/Watch",
    ]
    .contains(&path)
}

/// Whether not even the beginning of an answer may be there while a call goes on. What has begun is known to have been
/// looked at, and can be taken back at any time.
pub(crate) fn begins_late(path: &str) -> bool {
    path.ends_with("Control/Solve")
}

/// A graph of one file.
pub(crate) fn definition() -> pb::Definition {
    let op = pb::Op {
        op: Some(pb::op::Op::File(pb::FileOp {
            actions: vec![pb::FileAction {
                input: -1,
                secondary_input: -1,
                output: 0,
                action: Some(pb::file_action::Action::Mkfile(pb::FileActionMkFile {
                    path: "/file".into(),
                    mode: 0o644,
                    data: b"words".to_vec(),
                    timestamp: 1,
                    ..pb::FileActionMkFile::default()
                })),
            }],
        })),
        ..pb::Op::default()
    };
    ending_in(&op.encode_to_vec(), Vec::new())
}

/// A graph whose result is the first output of an op, which may read other ops.
pub(crate) fn ending_in(op: &[u8], before: Vec<Vec<u8>>) -> pb::Definition {
    let end = pb::Op {
        inputs: vec![pb::Input {
            digest: Digest::sha256_of(op).to_string(),
            index: 0,
        }],
        ..pb::Op::default()
    };
    let mut def = before;
    def.extend([op.to_vec(), end.encode_to_vec()]);
    pb::Definition {
        def,
        ..pb::Definition::default()
    }
}

/// A request that the daemon has reason to look into; what is malformed is appended, and so takes the place of what
/// it has or stands beside it.
pub(crate) fn sensible(path: &str, driven: &Driven) -> Result<Vec<u8>> {
    let (_, name) = path.rsplit_once('/').context("a method's path")?;
    let in_container = name.ends_with("Container");
    let place = if in_container {
        &driven.container
    } else {
        &driven.result
    }
    .clone();
    Ok(match name {
        "Solve" if path.contains(".Control/") => control::SolveRequest {
            r#ref: new_name(),
            definition: Some(definition()),
            internal: true,
            ..control::SolveRequest::default()
        }
        .encode_to_vec(),
        "Solve" => frontend::SolveRequest {
            definition: Some(definition()),
            allow_result_return: true,
            allow_result_array_ref: true,
            evaluate: true,
            ..frontend::SolveRequest::default()
        }
        .encode_to_vec(),
        "ReadFile" | "ReadFileContainer" => frontend::ReadFileRequest {
            r#ref: place,
            file_path: "/file".into(),
            ..frontend::ReadFileRequest::default()
        }
        .encode_to_vec(),
        "ReadDir" | "ReadDirContainer" => frontend::ReadDirRequest {
            r#ref: place,
            dir_path: "/".into(),
            ..frontend::ReadDirRequest::default()
        }
        .encode_to_vec(),
        "StatFile" | "StatFileContainer" => frontend::StatFileRequest {
            r#ref: place,
            path: "/file".into(),
            ..frontend::StatFileRequest::default()
        }
        .encode_to_vec(),
        "NewContainer" => new_container(&new_name(), &driven.result),
        "ExecProcess" => started(&driven.container),
        "ResolveImageConfig" => frontend::ResolveImageConfigRequest {
            r#ref: "oci-layout.invalid/x:1".into(),
            resolver_type: 1,
            ..frontend::ResolveImageConfigRequest::default()
        }
        .encode_to_vec(),
        "ResolveSourceMeta" => frontend::ResolveSourceMetaRequest {
            source: Some(pb::SourceOp {
                identifier: "oci-layout://x/y:1".into(),
                ..pb::SourceOp::default()
            }),
            ..frontend::ResolveSourceMetaRequest::default()
        }
        .encode_to_vec(),
        "Return" => frontend::ReturnRequest {
            result: Some(frontend::Result {
                result: Some(frontend::result::Result::Ref(frontend::Ref::default())),
                ..frontend::Result::default()
            }),
            error: None,
        }
        .encode_to_vec(),
        "Warn" => frontend::WarnRequest {
            digest: Digest::sha256_of("a vertex").to_string(),
            short: b"words".to_vec(),
            ..frontend::WarnRequest::default()
        }
        .encode_to_vec(),
        _ => Vec::new(),
    })
}

/// A container with one file system.
pub(crate) fn new_container(name: &str, result: &str) -> Vec<u8> {
    frontend::NewContainerRequest {
        container_id: name.to_owned(),
        mounts: vec![pb::Mount {
            dest: "/".into(),
            result_id: result.to_owned(),
            ..pb::Mount::default()
        }],
        ..frontend::NewContainerRequest::default()
    }
    .encode_to_vec()
}

/// A program that is not in the container.
fn started(container: &str) -> Vec<u8> {
    use frontend::exec_message::Input;
    frontend::ExecMessage {
        process_id: "program".into(),
        input: Some(Input::Init(frontend::InitMessage {
            container_id: container.to_owned(),
            meta: Some(pb::Meta {
                args: vec!["/none".into()],
                cwd: "/".into(),
                ..pb::Meta::default()
            }),
            ..frontend::InitMessage::default()
        })),
    }
    .encode_to_vec()
}
