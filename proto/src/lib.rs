//! The wire and nothing but the wire.
//!
//! Generated types of BuildKit's protocol (made from our own .proto files; package
//! and message names, field numbers and types are BuildKit's, so that both sides
//! understand each other) and the content address that everything is named by.
//!
//! Nothing here decides anything: no graph checks, no I/O, no clocks.
//!
//! Main types: [`pb::Definition`] and [`pb::Op`] (LLB), [`control`] (the daemon's
//! service), [`frontend`] (the frontends' service), [`Digest`].
//!
//! Each generated module is one protobuf package and holds its messages, a `*_client`
//! and a `*_server` for each of its services.

#[doc(inline)]
pub use generated::{
    containerd::services::content::v1 as content,
    cooper::v1 as cooper,
    errdefs,
    fsutil::types as fsutil,
    google::rpc,
    moby::{
        buildkit::{
            secrets::v1 as secrets,
            v1 as control,
            v1::{
                apicaps, frontend, sourcepolicy as source_policy,
                sourcepolicy::policysession as policy_session, types,
            },
        },
        exporter::v1 as session_exporter,
        filesync::v1 as filesync,
        sshforward::v1 as ssh_forward,
        upload::v1 as upload,
    },
    opentelemetry::proto::collector::trace::v1 as trace,
    pb, stack,
};

pub mod cache_config;
pub mod oci;
pub mod platform;
pub mod reference;

mod digest;

pub use digest::{Algorithm, Digest, ParseDigestError};

/// The compiled .proto files, for gRPC reflection: an encoded
/// `google.protobuf.FileDescriptorSet` with its imports.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Longest message that either side of the protocol accepts.
///
/// # Units
/// Bytes. Source: BuildKit's clients and daemons raise gRPC's 4 MiB to 16 MiB.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;

#[expect(
    missing_docs,
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    clippy::large_enum_variant,
    clippy::too_many_lines,
    reason = "the generator documents messages and fields, from the .proto files, but not the \
              packages' modules and the services' constructors, and does not box variants; it
              nests modules by package, which we re-export flat"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/generated.rs"));
}
