//! The ops that a target becomes.

use std::collections::BTreeMap;

use cooper_proto::{Digest, pb};
use prost::Message;

use super::Request;
use super::answer::metadata;
use super::op::push_op;
use super::wire::{Names, push_metadata, push_source};
use crate::diagnostic::Fault;
use crate::golang::json::Object;

/// The answer to [`Request::ConvertLlb`].
///
/// # Errors
/// An op that came in from outside and is none.
pub(crate) fn convert_llb(definition: &pb::Definition) -> Result<BTreeMap<String, String>, Fault> {
    let ops = definition
        .def
        .iter()
        .map(|bytes| {
            let op = pb::Op::decode(bytes.as_slice())
                .map_err(|error| Fault::new(format!("failed to parse llb proto op: {error}")))?;
            Ok((Digest::sha256_of(bytes).to_string(), op))
        })
        .collect::<Result<BTreeMap<String, pb::Op>, Fault>>()?;
    let mut json = String::new();
    let mut root = Object::open(&mut json);
    let mut written = Object::open(root.key("def"));
    for (digest, op) in &ops {
        push_op(written.key(digest), op);
    }
    written.close();
    let mut written = Object::open(root.key("metadata"));
    for (digest, said) in &definition.metadata {
        push_metadata(written.key(digest), said, Names::AsDeclared);
    }
    written.close();
    let source = definition.source.clone().unwrap_or_default();
    push_source(root.key("source"), &source, Names::Camel);
    root.close();
    Ok(metadata(Request::ConvertLlb, &json, None))
}

/// One op as a line of JSON with the names that buildctl's `debug dump-llb` has.
#[must_use]
pub fn op_json(digest: &str, op: &pb::Op, metadata: Option<&pb::OpMetadata>) -> String {
    let mut json = String::new();
    let mut line = Object::open(&mut json);
    push_op(line.key("Op"), op);
    line.string("Digest", digest);
    let said = metadata.cloned().unwrap_or_default();
    push_metadata(line.key("OpMetadata"), &said, Names::AsDeclared);
    line.close();
    json
}
