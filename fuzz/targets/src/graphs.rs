//! What clients send to be built.

use cooper_core::graph::{Graph, Limits};
use cooper_core::policy::{Rules, replace_sources, sources_of};
use cooper_proto::{Digest, pb, source_policy};
use prost::Message;

use crate::pieces::pieces;

/// A definition's bytes.
pub(crate) fn definition(data: &[u8]) {
    if let Ok(definition) = pb::Definition::decode(data) {
        load(&definition);
    }
}

/// Ops of which the inputs lead somewhere: [`pieces`] that are ops, in which the digests of inputs are taken as positions
/// of the ops before.
pub(crate) fn graph(data: &[u8]) {
    let mut ops: Vec<Vec<u8>> = Vec::new();
    for op in pieces(data) {
        let Ok(mut op) = pb::Op::decode(op) else {
            continue;
        };
        for input in &mut op.inputs {
            let sum = input.digest.bytes().map(usize::from).sum::<usize>();
            if let Some(op) = sum.checked_rem(ops.len()).and_then(|at| ops.get(at)) {
                input.digest = Digest::sha256_of(op).to_string();
            }
        }
        ops.push(op.encode_to_vec());
    }
    load(&pb::Definition {
        def: ops,
        ..pb::Definition::default()
    });
}

pub(crate) fn load(definition: &pb::Definition) {
    if let Ok(graph) = Graph::load(definition, &Limits::default()) {
        assert!(graph.vertices.len() <= definition.def.len());
        let _text = graph.dot();
        drop(graph.clone());
    }
    if let Ok(sources) = sources_of(definition) {
        let replaced = sources.into_iter().filter_map(|(digest, op)| match op.op {
            Some(pb::op::Op::Source(mut source)) => {
                source.identifier.push('x');
                Some((digest, source))
            }
            _ => None,
        });
        let _either = replace_sources(definition, &replaced.collect());
    }
}

/// A source's name, a line feed, and rules about sources.
pub(crate) fn source_policy(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (name, rest) = data.split_at(end.unwrap_or(0));
    let Ok(policy) = source_policy::Policy::decode(rest.get(1..).unwrap_or_default()) else {
        return;
    };
    let Ok(rules) = Rules::read(vec![policy]) else {
        return;
    };
    let mut source = pb::SourceOp {
        identifier: String::from_utf8_lossy(name).into_owned(),
        ..pb::SourceOp::default()
    };
    if rules.apply(&mut source) == Ok(true) {
        let again = rules.apply(&mut source);
        assert_eq!(again, Ok(false), "the rules were not done with it");
    }
}
