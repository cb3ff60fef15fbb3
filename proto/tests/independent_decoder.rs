//! Our messages against those of bollard-buildkit-proto, which others generated from
//! BuildKit's own files: the same bytes must mean the same, field by field.
//!
//! Each message is filled from our descriptors with a distinct value in every field
//! (once for each variant of its oneofs), encoded by a third implementation
//! (prost-reflect), decoded by both sides and compared by name and value; then each
//! side decodes what the other encodes.

#![expect(
    clippy::unwrap_used,
    reason = "clippy.toml lets tests unwrap, but not functions that tests call"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use bollard_buildkit_proto as theirs;
use cooper_proto as ours;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};

/// Messages that bollard-buildkit-proto 0.9.2 has not, by package.
const LACKING_PACKAGES: &[&str] = &[
    "cooper.v1",
    "containerd.services.content.v1",
    "errdefs",
    "moby.buildkit.v1.sourcepolicy.policysession",
    "moby.exporter.v1",
    "opentelemetry.proto.collector.trace.v1",
    "stack",
];

/// Messages that it has not though it has others of the package.
const LACKING_MESSAGES: &[&str] = &["pb.LinuxResources", "pb.PassthroughOp"];

/// Fields that it has not though it has the message.
const LACKING_FIELDS: &[&str] = &[
    "moby.buildkit.v1.SolveRequest.CompatibilityVersion",
    "moby.buildkit.v1.SolveRequest.ProxyNetwork",
    "moby.buildkit.v1.types.BuildkitVersion.dockerfileVersion",
    "pb.Op.passthrough",
    "pb.OpMetadata.linux_resources",
];

/// How those fields look on our side when they are not set.
const LACKING_TEXTS: &[&str] = &[
    ", compatibility_version: 0",
    ", proxy_network: false",
    ", dockerfile_version: \"\"",
    ", linux_resources: None",
];

type Check = fn(&[u8], &str);

fn check<O, T>(bytes: &[u8], name: &str)
where
    O: Message + Default + PartialEq + Debug,
    T: Message + Default + PartialEq + Debug,
{
    let ours = O::decode(bytes).unwrap();
    let theirs = T::decode(bytes).unwrap();
    let mut our_text = text(&ours);
    for lacking in LACKING_TEXTS {
        our_text = our_text.replace(lacking, "");
    }
    assert_eq!(
        our_text,
        text(&theirs),
        "{name} decoded from the same bytes"
    );
    let from_ours = T::decode(ours.encode_to_vec().as_slice()).unwrap();
    assert_eq!(from_ours, theirs, "{name} encoded by us");
    let from_theirs = O::decode(theirs.encode_to_vec().as_slice()).unwrap();
    assert_eq!(from_theirs, ours, "{name} encoded by them");
}

/// The debug text with `b"ab"` as `[97, 98]`, since one side shares buffers and the
/// other does not. The values that we fill in hold letters and digits only.
fn text(message: &impl Debug) -> String {
    let text = format!("{message:?}");
    let mut parts = text.split("b\"");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (bytes, rest) = part.split_once('"').unwrap();
        out.push_str(&format!("{:?}", bytes.as_bytes()));
        out.push_str(rest);
    }
    out
}

macro_rules! table {
    ($($package:literal: $ours:path, $theirs:path { $($message:ident)* })*) => {{
        let mut table: BTreeMap<String, Check> = BTreeMap::new();
        $({
            use $ours as our_module;
            use $theirs as their_module;
            $(table.insert(
                format!("{}.{}", $package, stringify!($message)),
                check::<our_module::$message, their_module::$message>,
            );)*
        })*
        table
    }};
}

fn table() -> BTreeMap<String, Check> {
    table! {
        "pb": ours::pb, theirs::pb {
            Op Platform Input ExecOp Meta HostIp Ulimit SecretEnv CdiDevice Mount TmpfsOpt CacheOpt
            SecretOpt SshOpt SourceOp BuildOp BuildInput OpMetadata Source Locations SourceInfo
            Location Range Position ExportCache ProgressGroup ProxyEnv WorkerConstraints Definition
            FileOp FileAction FileActionCopy FileActionMkFile FileActionSymlink FileActionMkDir
            FileActionRm ChownOpt UserOpt NamedUserOpt MergeInput MergeOp LowerDiffInput
            UpperDiffInput DiffOp
        }
        "moby.buildkit.v1": ours::control, theirs::moby::buildkit::v1 {
            PruneRequest DiskUsageRequest DiskUsageResponse UsageRecord SolveRequest CacheOptions
            CacheOptionsEntry SolveResponse StatusRequest StatusResponse Vertex VertexStatus
            VertexLog VertexWarning BytesMessage ListWorkersRequest ListWorkersResponse InfoRequest
            InfoResponse BuildHistoryRequest BuildHistoryEvent BuildHistoryRecord
            UpdateBuildHistoryRequest UpdateBuildHistoryResponse Descriptor BuildResultInfo Exporter
        }
        "moby.buildkit.v1.types": ours::types, theirs::moby::buildkit::v1::types {
            WorkerRecord GcPolicy BuildkitVersion CdiDevice
        }
        "moby.buildkit.v1.apicaps": ours::apicaps, theirs::moby::buildkit::v1::apicaps { ApiCap }
        "moby.buildkit.v1.sourcepolicy":
            ours::source_policy, theirs::moby::buildkit::v1::sourcepolicy {
            Rule Update Selector AttrConstraint Policy
        }
        "moby.buildkit.v1.frontend": ours::frontend, theirs::moby::buildkit::v1::frontend {
            Result RefMapDeprecated Ref RefMap Attestations Attestation InTotoSubject ReturnRequest
            ReturnResponse InputsRequest InputsResponse ResolveImageConfigRequest
            ResolveImageConfigResponse ResolveSourceMetaRequest ResolveSourceMetaResponse
            ResolveSourceImageRequest AttestationChain ResolveSourceImageResponse
            ResolveSourceGitRequest ResolveSourceGitResponse ResolveSourceHttpResponse
            ResolveSourceHttpRequest ChecksumRequest ChecksumResponse SolveRequest
            CacheOptionsEntry SolveResponse ReadFileRequest FileRange ReadFileResponse
            ReadDirRequest ReadDirResponse StatFileRequest StatFileResponse EvaluateRequest
            EvaluateResponse PingRequest PongResponse WarnRequest WarnResponse NewContainerRequest
            NewContainerResponse ReleaseContainerRequest ReleaseContainerResponse ExecMessage
            InitMessage ExitMessage StartedMessage DoneMessage FdMessage ResizeMessage
            SignalMessage Blob Descriptor
        }
        "moby.buildkit.secrets.v1": ours::secrets, theirs::moby::buildkit::secrets::v1 {
            GetSecretRequest GetSecretResponse
        }
        "moby.filesync.v1": ours::filesync, theirs::moby::filesync::v1 {
            BytesMessage CredentialsRequest CredentialsResponse FetchTokenRequest FetchTokenResponse
            GetTokenAuthorityRequest GetTokenAuthorityResponse VerifyTokenAuthorityRequest
            VerifyTokenAuthorityResponse
        }
        "moby.sshforward.v1": ours::ssh_forward, theirs::moby::sshforward::v1 {
            BytesMessage CheckAgentRequest CheckAgentResponse
        }
        "moby.upload.v1": ours::upload, theirs::moby::upload::v1 { BytesMessage }
        "fsutil.types": ours::fsutil, theirs::fsutil::types { Stat Packet }
        "google.rpc": ours::rpc, theirs::google::rpc { Status }
    }
}

fn pool() -> DescriptorPool {
    DescriptorPool::decode(ours::FILE_DESCRIPTOR_SET).unwrap()
}

/// Every message of ours that is not one of protobuf's own.
fn messages(pool: &DescriptorPool) -> Vec<MessageDescriptor> {
    pool.all_messages()
        .filter(|m| !m.is_map_entry() && m.package_name() != "google.protobuf")
        .collect()
}

/// The generator spells `OS` as `Os` in names of types.
fn same_name(generated: &str, declared: &str) -> bool {
    generated.eq_ignore_ascii_case(declared)
}

#[test]
fn both_sides_read_the_same_bytes_the_same_way() {
    let table = table();
    let mut checked = 0;
    for message in messages(&pool()) {
        let name = message.full_name();
        let Some(check) = table
            .iter()
            .find_map(|(key, check)| same_name(key, name).then_some(check))
        else {
            continue;
        };
        let variants = message
            .oneofs()
            .map(|o| o.fields().len())
            .max()
            .unwrap_or(1);
        for variant in 0..variants {
            let filled = fill(&message, 4, &mut Counter { next: 1, variant });
            check(&filled.encode_to_vec(), name);
        }
        checked += 1;
    }
    assert_eq!(
        checked,
        table.len(),
        "a message of the table does not exist"
    );
}

#[test]
fn the_list_of_what_the_other_side_lacks_is_complete() {
    let pool = pool();
    let table = table();
    let mut unexplained = BTreeSet::new();
    for message in messages(&pool) {
        let name = message.full_name();
        let known = table.keys().any(|key| same_name(key, name))
            || LACKING_MESSAGES.contains(&name)
            || LACKING_PACKAGES.contains(&message.package_name());
        if !known {
            unexplained.insert(name.to_owned());
        }
    }
    assert_eq!(unexplained, BTreeSet::new());
    for field in LACKING_FIELDS {
        let (message, field) = field.rsplit_once('.').unwrap();
        let message = pool.get_message_by_name(message).unwrap();
        assert!(message.get_field_by_name(field).is_some(), "{field}");
    }
}

#[test]
fn descriptors_serve_reflection_with_all_services() {
    let services: BTreeSet<String> = pool()
        .services()
        .map(|s| s.full_name().to_owned())
        .collect();
    let expected = [
        "containerd.services.content.v1.Content",
        "cooper.v1.Cooper",
        "moby.buildkit.secrets.v1.Secrets",
        "moby.buildkit.v1.Control",
        "moby.buildkit.v1.frontend.LLBBridge",
        "moby.buildkit.v1.sourcepolicy.policysession.PolicyVerifier",
        "moby.exporter.v1.Exporter",
        "moby.filesync.v1.Auth",
        "moby.filesync.v1.FileSend",
        "moby.filesync.v1.FileSync",
        "moby.sshforward.v1.SSH",
        "moby.upload.v1.Upload",
        "opentelemetry.proto.collector.trace.v1.TraceService",
    ];
    assert_eq!(services, expected.into_iter().map(String::from).collect());
}

/// Gives every field a value that no other field has.
struct Counter {
    next: u32,
    variant: usize,
}

fn fill(message: &MessageDescriptor, depth: u32, counter: &mut Counter) -> DynamicMessage {
    let mut filled = DynamicMessage::new(message.clone());
    let fields: Vec<FieldDescriptor> = message
        .fields()
        .filter(|f| !LACKING_FIELDS.contains(&f.full_name()))
        .collect();
    for field in &fields {
        if let Some(oneof) = field.containing_oneof() {
            let known: Vec<_> = fields
                .iter()
                .filter(|f| f.containing_oneof().as_ref() == Some(&oneof))
                .collect();
            if known[counter.variant % known.len()] != field {
                continue;
            }
        }
        let nested = matches!(field.kind(), Kind::Message(_));
        if nested && depth == 0 {
            continue;
        }
        let value = if field.is_map() {
            let Kind::Message(entry) = field.kind() else {
                unreachable!("a map's entries are messages")
            };
            let key = match scalar(&entry.map_entry_key_field(), counter) {
                Value::String(text) => MapKey::String(text),
                Value::I64(number) => MapKey::I64(number),
                other => panic!("no map of the protocol has the key {other:?}"),
            };
            let value = single(&entry.map_entry_value_field(), depth, counter);
            Value::Map([(key, value)].into())
        } else if field.is_list() {
            let first = single(field, depth, counter);
            Value::List(vec![first, single(field, depth, counter)])
        } else {
            single(field, depth, counter)
        };
        filled.set_field(field, value);
    }
    filled
}

fn single(field: &FieldDescriptor, depth: u32, counter: &mut Counter) -> Value {
    match field.kind() {
        Kind::Message(message) => Value::Message(fill(&message, depth.saturating_sub(1), counter)),
        _ => scalar(field, counter),
    }
}

fn scalar(field: &FieldDescriptor, counter: &mut Counter) -> Value {
    let number = counter.next;
    counter.next += 1;
    let signed = i32::try_from(number).unwrap();
    match field.kind() {
        Kind::String => Value::String(format!("s{number}")),
        Kind::Bytes => Value::Bytes(format!("b{number}").into_bytes().into()),
        Kind::Bool => Value::Bool(true),
        // Both signs, so that a difference in the integer's kind shows.
        Kind::Int64 => Value::I64(if number.is_multiple_of(2) {
            -i64::from(number)
        } else {
            1 << 40
        }),
        Kind::Int32 => Value::I32(if number.is_multiple_of(2) {
            -signed
        } else {
            signed
        }),
        Kind::Uint32 => Value::U32(u32::MAX - number),
        Kind::Uint64 => Value::U64(u64::MAX - u64::from(number)),
        Kind::Enum(kind) => Value::EnumNumber(i32::try_from(kind.values().len()).unwrap() - 1),
        other => panic!("no field of the protocol is of the kind {other:?}"),
    }
}
