//! Failures as gRPC statuses with details, and back (parity sheet E; the details are JSON under type URLs, as
//! BuildKit's clients expect them).

use std::error::Error as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cooper_core::model::{
    FailedOp, FailedPart, Failure, FailureDetail, FailureKind, ResultId, SourceFile,
    SourceLocation, SourceRange,
};
use cooper_proto::errdefs::solve::Subject;
use cooper_proto::{errdefs, pb, rpc};
use prost::Message;
use prost_types::Any;
use serde::{Deserialize, Serialize};
use tonic::{Code, Status};

use crate::history::code_number;
use crate::progress::location_source;

const VERTEX: &str = "github.com/moby/buildkit/errdefs.Vertex+json";
const SOURCE: &str = "github.com/moby/buildkit/errdefs.Source+json";
/// A message, not JSON: clients find it by its name among the messages that they know.
const SOLVE: &str = "type.googleapis.com/errdefs.Solve";
const EXIT: &str = "github.com/moby/buildkit/gatewayapi.ExitMessage+json";
const STACK: &str = "github.com/moby/buildkit/stack.Stack+json";
/// What only Cooper's own clients understand; others pass over it.
const FAILURE: &str = "cooper/Failure+json";

#[derive(Serialize, Deserialize, Default)]
struct VertexJson {
    #[serde(default)]
    digest: String,
}

#[derive(Serialize, Deserialize, Default)]
struct SourceJson {
    #[serde(default)]
    info: InfoJson,
    #[serde(default)]
    ranges: Vec<RangeJson>,
}

#[derive(Serialize, Deserialize, Default)]
struct InfoJson {
    #[serde(default)]
    filename: String,
    /// Base64.
    #[serde(default)]
    data: String,
    #[serde(default)]
    language: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    definition: Option<DefinitionJson>,
}

/// A definition's ops, each in Base64; what is said about them beside is not needed to build it.
#[derive(Serialize, Deserialize, Default)]
struct DefinitionJson {
    #[serde(default)]
    def: Vec<String>,
}

#[derive(Serialize, Deserialize, Default)]
struct RangeJson {
    #[serde(default)]
    start: PositionJson,
    #[serde(default)]
    end: PositionJson,
}

#[derive(Serialize, Deserialize, Default)]
struct PositionJson {
    #[serde(default)]
    line: u32,
    #[serde(default)]
    character: u32,
}

#[derive(Serialize, Deserialize, Default)]
struct FailureJson {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    missing_path: bool,
}

/// How a process ended.
#[derive(Serialize, Deserialize, Default)]
struct ExitJson {
    #[serde(rename = "Code", default)]
    code: u32,
}

/// Where in which program an error was made, for who reports it.
#[derive(Serialize, Deserialize, Default)]
struct StackJson {
    #[serde(default)]
    frames: Vec<FrameJson>,
    #[serde(default)]
    version: String,
}

#[derive(Serialize, Deserialize, Default)]
struct FrameJson {
    #[serde(rename = "Name", default)]
    name: String,
    #[serde(rename = "File", default)]
    file: String,
    #[serde(rename = "Line", default)]
    line: u32,
}

impl StackJson {
    /// Where this engine put an error into words.
    fn here() -> Self {
        Self {
            frames: vec![FrameJson {
                name: OWN_FRAME.to_owned(),
                file: file!().to_owned(),
                line: line!(),
            }],
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    fn is_ours(&self) -> bool {
        self.frames.iter().any(|frame| frame.name == OWN_FRAME)
    }
}

/// What clients of BuildKit take an exit code for that nobody knows.
const UNKNOWN_EXIT: u32 = 255;

const OWN_FRAME: &str = concat!(module_path!(), "::status_from_failure");

/// A failure as a client gets it.
#[must_use]
pub fn status_from_failure(failure: &Failure) -> Status {
    let code = Code::from_i32(code_number(&failure.kind));
    let message = shortened(&failure.message);
    let status = rpc::Status {
        code: code as i32,
        message: message.clone(),
        details: bounded(details(failure)),
    };
    Status::with_details(code, message, status.encode_to_vec().into())
}

/// A refusal in words that may quote what the client sent.
pub(super) fn refusal(code: Code, words: &str) -> Status {
    Status::new(code, shortened(words))
}

/// A status travels as headers, and a client that is sent too many of them ends the whole connection.
const MESSAGE_BYTES: usize = 16 << 10;

/// The same for all details of a status.
const DETAIL_BYTES: usize = 256 << 10;

fn shortened(message: &str) -> String {
    match message.char_indices().find(|(at, _)| *at >= MESSAGE_BYTES) {
        None => message.to_owned(),
        Some((end, _)) => format!("{}…", &message[..end]),
    }
}

/// The details without those that are too large: what says the most in few bytes comes first.
fn bounded(mut details: Vec<Any>) -> Vec<Any> {
    let mut left = DETAIL_BYTES;
    details.retain(|detail| {
        let fits = detail.value.len() <= left;
        left -= if fits { detail.value.len() } else { 0 };
        fits
    });
    details
}

/// What a status says, as far as it says it in the ways that BuildKit and Cooper have.
#[must_use]
pub fn failure_from_status(status: &Status) -> Failure {
    let details = rpc::Status::decode(status.details())
        .map(|decoded| decoded.details)
        .unwrap_or_default();
    let code = match status.code() {
        Code::Internal | Code::Unknown if was_sent_by_nobody(status) => Code::Unavailable,
        code => code,
    };
    read(code, status.message(), &details)
}

/// Whether a status says how a connection broke: the libraries keep the cause in those that they make themselves.
fn was_sent_by_nobody(status: &Status) -> bool {
    status.source().is_some()
}

/// What a status inside a message says.
#[must_use]
pub fn failure_from_rpc(status: &rpc::Status) -> Failure {
    read(
        Code::from_i32(status.code),
        &status.message,
        &status.details,
    )
}

fn details(failure: &Failure) -> Vec<Any> {
    let mut details = Vec::new();
    if !failure
        .details
        .iter()
        .any(|detail| detail.type_url == STACK)
    {
        details.extend(detail(STACK, &StackJson::here()));
    }
    if let FailureKind::Exit { code } = failure.kind {
        let code = u32::try_from(code).unwrap_or(UNKNOWN_EXIT);
        details.extend(detail(EXIT, &ExitJson { code }));
    }
    if let Some(vertex) = &failure.vertex {
        details.extend(detail(
            VERTEX,
            &VertexJson {
                digest: vertex.to_string(),
            },
        ));
    }
    // Who reads wraps the error in each: the last place is the first to be found.
    for location in failure.locations.iter().rev() {
        details.extend(detail(SOURCE, &source_json(location)));
    }
    if let Some(op) = &failure.op {
        details.push(Any {
            type_url: SOLVE.to_owned(),
            value: solve(op).encode_to_vec(),
        });
    }
    details.extend(failure.details.iter().map(|detail| Any {
        type_url: detail.type_url.clone(),
        value: detail.value.clone(),
    }));
    let own = FailureJson {
        hint: failure.hint.clone(),
        exit_code: match failure.kind {
            FailureKind::Exit { code } => Some(code),
            _ => None,
        },
        missing_path: failure.kind == FailureKind::MissingPath,
    };
    if own.hint.is_some() || own.exit_code.is_some() || own.missing_path {
        details.extend(detail(FAILURE, &own));
    }
    details
}

fn solve(op: &FailedOp) -> errdefs::Solve {
    let ids = |states: &[Option<ResultId>]| {
        let id = |state: &Option<ResultId>| state.as_ref().map(|it| it.0.clone());
        states
            .iter()
            .map(|state| id(state).unwrap_or_default())
            .collect()
    };
    errdefs::Solve {
        input_i_ds: ids(&op.inputs),
        mount_i_ds: ids(&op.mounts),
        op: pb::Op::decode(op.op.as_slice()).ok(),
        subject: op.part.map(|part| match part {
            FailedPart::Action(at) => Subject::File(errdefs::FileAction {
                index: i64::try_from(at).unwrap_or(i64::MAX),
            }),
            FailedPart::Content(at) => Subject::Cache(errdefs::ContentCache {
                index: i64::try_from(at).unwrap_or(i64::MAX),
            }),
        }),
        description: op.description.clone(),
    }
}

fn detail(url: &str, value: &impl Serialize) -> Option<Any> {
    Some(Any {
        type_url: url.to_owned(),
        value: serde_json::to_vec(value).ok()?,
    })
}

fn source_json(location: &SourceLocation) -> SourceJson {
    let (info, ranges) = location_source(location);
    let position = |position: Option<cooper_proto::pb::Position>| {
        let position = position.unwrap_or_default();
        PositionJson {
            line: u32::try_from(position.line).unwrap_or(0),
            character: u32::try_from(position.character).unwrap_or(0),
        }
    };
    SourceJson {
        info: InfoJson {
            filename: info.filename,
            data: STANDARD.encode(info.data),
            language: info.language,
            definition: info.definition.map(|definition| DefinitionJson {
                def: definition
                    .def
                    .iter()
                    .map(|op| STANDARD.encode(op))
                    .collect(),
            }),
        },
        ranges: ranges
            .into_iter()
            .map(|range| RangeJson {
                start: position(range.start),
                end: position(range.end),
            })
            .collect(),
    }
}

fn read(code: Code, message: &str, details: &[Any]) -> Failure {
    let mut failure = Failure::new(kind_of(code), message);
    for detail in details {
        match detail.type_url.as_str() {
            VERTEX => {
                let vertex: VertexJson = parse(detail);
                failure.vertex = vertex.digest.parse().ok();
            }
            EXIT => {
                let exit: ExitJson = parse(detail);
                failure.kind = FailureKind::Exit {
                    code: i32::try_from(exit.code).unwrap_or(i32::MAX),
                };
            }
            STACK if parse::<StackJson>(detail).is_ours() => {}
            SOURCE => failure.locations.push(location(parse(detail))),
            FAILURE => {
                let own: FailureJson = parse(detail);
                failure.hint = own.hint;
                if let Some(code) = own.exit_code {
                    failure.kind = FailureKind::Exit { code };
                }
                if own.missing_path {
                    failure.kind = FailureKind::MissingPath;
                }
            }
            // States of a build that is not ours to look into.
            SOLVE => {}
            _ => failure.details.push(FailureDetail {
                type_url: detail.type_url.clone(),
                value: detail.value.clone(),
            }),
        }
    }
    failure.locations.reverse();
    failure
}

fn parse<T: for<'a> Deserialize<'a> + Default>(detail: &Any) -> T {
    serde_json::from_slice(&detail.value).unwrap_or_default()
}

fn location(source: SourceJson) -> SourceLocation {
    let text = STANDARD.decode(source.info.data).unwrap_or_default();
    SourceLocation {
        file: Arc::new(SourceFile {
            name: source.info.filename,
            language: source.info.language,
            text: String::from_utf8_lossy(&text).into_owned(),
            definition: source.info.definition.map(|definition| {
                let ops = definition
                    .def
                    .iter()
                    .filter_map(|op| STANDARD.decode(op).ok());
                Arc::new(cooper_proto::pb::Definition {
                    def: ops.collect(),
                    ..cooper_proto::pb::Definition::default()
                })
            }),
        }),
        ranges: source
            .ranges
            .iter()
            .map(|range| SourceRange {
                start_line: range.start.line,
                start_character: range.start.character,
                end_line: range.end.line,
                end_character: range.end.character,
            })
            .collect(),
    }
}

fn kind_of(code: Code) -> FailureKind {
    match code {
        Code::Cancelled => FailureKind::Cancelled,
        Code::InvalidArgument
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::OutOfRange => FailureKind::InvalidInput,
        Code::NotFound => FailureKind::NotFound,
        Code::PermissionDenied | Code::Unauthenticated => FailureKind::Denied,
        Code::Unimplemented => FailureKind::Unsupported,
        Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted | Code::Aborted => {
            FailureKind::Infrastructure
        }
        // A process that failed is Unknown to gRPC; its code, when there is one, is in the details.
        Code::Unknown => FailureKind::Exit { code: 1 },
        Code::Ok | Code::Internal | Code::DataLoss => FailureKind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use cooper_proto::Digest;

    use super::*;

    #[test]
    fn a_status_stays_small_whatever_the_failure_holds() {
        let mut failure = Failure::new(FailureKind::Exit { code: 1 }, "é".repeat(1 << 20));
        failure.details = vec![FailureDetail {
            type_url: "example.com/large".into(),
            value: vec![0; 1 << 20],
        }];
        let status = status_from_failure(&failure);
        assert!(
            status.details().len() < DETAIL_BYTES,
            "{}",
            status.details().len()
        );
        assert!(status.message().len() <= MESSAGE_BYTES + '…'.len_utf8() + 1);
        let again = failure_from_status(&status);
        assert_eq!(again.kind, failure.kind);
    }

    #[test]
    fn a_failure_survives_the_wire() {
        let failure = Failure::new(FailureKind::Exit { code: 137 }, "process did not succeed")
            .of_vertex(&Digest::sha256_of("op"))
            .at(SourceLocation {
                file: Arc::new(SourceFile {
                    name: "Dockerfile".into(),
                    language: "Dockerfile".into(),
                    text: "FROM scratch\nRUN false\n".into(),
                    definition: None,
                }),
                ranges: vec![SourceRange {
                    start_line: 2,
                    start_character: 0,
                    end_line: 2,
                    end_character: 9,
                }],
            })
            .with_hint("look at the step's output");
        let status = status_from_failure(&failure);
        assert_eq!(status.code(), Code::Unknown);
        assert_eq!(failure_from_status(&status), failure);
    }

    #[test]
    fn a_missing_path_has_no_code_for_other_clients_and_survives_the_wire() {
        let failure = Failure::new(FailureKind::MissingPath, "\"/a\": not found");
        let status = status_from_failure(&failure);
        assert_eq!(status.code(), Code::Unknown);
        assert_eq!(failure_from_status(&status), failure);
    }

    /// Another job that wants the same may have a client that is still there.
    #[test]
    fn a_connection_that_broke_is_no_fault_of_cooper_s_and_no_program_s_end() {
        let broke = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let failure = failure_from_status(&Status::from_error(Box::new(broke)));
        assert_eq!(failure.kind, FailureKind::Infrastructure);
        let said = failure_from_status(&Status::internal("the peer says so"));
        assert_eq!(said.kind, FailureKind::Internal);
    }

    #[test]
    fn details_that_nobody_here_knows_are_handed_on() {
        let status = rpc::Status {
            code: 5,
            message: "gone".into(),
            details: vec![Any {
                type_url: "github.com/moby/buildkit/stack.Stack+json".into(),
                value: b"not even JSON".to_vec(),
            }],
        };
        let failure = failure_from_rpc(&status);
        assert_eq!(failure.kind, FailureKind::NotFound);
        let again = rpc::Status::decode(status_from_failure(&failure).details()).expect("a status");
        assert_eq!(again, status);
    }
}
