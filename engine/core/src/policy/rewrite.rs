use std::collections::BTreeMap;

use cooper_proto::pb::op::Op as Kind;
use cooper_proto::{Digest, pb};
use prost::Message;

use crate::model::{Failure, FailureKind};

/// The sources of a definition by their digests.
///
/// # Errors
/// `InvalidInput` for bytes that are no op.
pub fn sources_of(definition: &pb::Definition) -> Result<Vec<(Digest, pb::Op)>, Failure> {
    let mut sources = Vec::new();
    for bytes in &definition.def {
        let op = decoded(bytes)?;
        if matches!(op.op, Some(Kind::Source(_))) {
            sources.push((Digest::sha256_of(bytes), op));
        }
    }
    Ok(sources)
}

/// The definition with some of its sources replaced. Ops above them get other digests, as they name their inputs by
/// digest; all others stay as they came, byte for byte.
///
/// # Errors
/// `InvalidInput` for bytes that are no op.
pub fn replace_sources(
    definition: &pb::Definition,
    sources: &BTreeMap<Digest, pb::SourceOp>,
) -> Result<pb::Definition, Failure> {
    if sources.is_empty() {
        return Ok(definition.clone());
    }
    let mut pending: Vec<(Digest, pb::Op, Vec<u8>)> = Vec::new();
    for bytes in &definition.def {
        pending.push((Digest::sha256_of(bytes), decoded(bytes)?, bytes.clone()));
    }
    let position: BTreeMap<String, usize> = pending
        .iter()
        .enumerate()
        .map(|(at, (digest, _, _))| (digest.to_string(), at))
        .collect();
    let mut renamed: BTreeMap<String, String> = BTreeMap::new();
    for at in inputs_first(&pending, &position) {
        let (digest, op, bytes) = &mut pending[at];
        let mut changed = false;
        if let (Some(source), Some(Kind::Source(old))) = (sources.get(digest), &mut op.op) {
            old.clone_from(source);
            changed = true;
        }
        for input in &mut op.inputs {
            if let Some(name) = renamed.get(&input.digest) {
                input.digest.clone_from(name);
                changed = true;
            }
        }
        if changed {
            *bytes = op.encode_to_vec();
            renamed.insert(digest.to_string(), Digest::sha256_of(&*bytes).to_string());
        }
    }
    let name = |old: String| renamed.get(&old).cloned().unwrap_or(old);
    Ok(pb::Definition {
        def: pending.into_iter().map(|(_, _, bytes)| bytes).collect(),
        metadata: definition
            .metadata
            .clone()
            .into_iter()
            .map(|(digest, metadata)| (name(digest), metadata))
            .collect(),
        source: definition.source.clone().map(|mut source| {
            let locations = std::mem::take(&mut source.locations).into_iter();
            source.locations = locations.map(|(digest, at)| (name(digest), at)).collect();
            source
        }),
    })
}

/// Positions of ops, each after those of its inputs. A cycle, which digests do not allow, is cut.
fn inputs_first(
    ops: &[(Digest, pb::Op, Vec<u8>)],
    position: &BTreeMap<String, usize>,
) -> Vec<usize> {
    let mut order = Vec::with_capacity(ops.len());
    let mut entered = vec![false; ops.len()];
    for start in 0..ops.len() {
        // An op, and how many of its inputs were looked at.
        let mut path = vec![(start, 0)];
        if std::mem::replace(&mut entered[start], true) {
            continue;
        }
        while let Some((at, next)) = path.last_mut() {
            let input = ops[*at].1.inputs.get(*next);
            *next += 1;
            match input.map(|input| position.get(&input.digest).copied()) {
                Some(Some(input)) if !entered[input] => {
                    entered[input] = true;
                    path.push((input, 0));
                }
                Some(_) => {}
                None => {
                    order.push(*at);
                    path.pop();
                }
            }
        }
    }
    order
}

fn decoded(bytes: &[u8]) -> Result<pb::Op, Failure> {
    pb::Op::decode(bytes).map_err(|error| {
        Failure::new(
            FailureKind::InvalidInput,
            format!("a definition has an op that cannot be read: {error}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(identifier: &str) -> pb::Op {
        pb::Op {
            op: Some(Kind::Source(pb::SourceOp {
                identifier: identifier.into(),
                ..pb::SourceOp::default()
            })),
            ..pb::Op::default()
        }
    }

    fn above(inputs: &[&[u8]]) -> pb::Op {
        pb::Op {
            inputs: inputs
                .iter()
                .map(|bytes| pb::Input {
                    digest: Digest::sha256_of(bytes).to_string(),
                    index: 0,
                })
                .collect(),
            op: Some(Kind::Merge(pb::MergeOp::default())),
            ..pb::Op::default()
        }
    }

    #[test]
    fn what_stands_on_a_replaced_source_is_renamed_and_nothing_else() {
        let (a, b) = (source("a").encode_to_vec(), source("b").encode_to_vec());
        let on_a = above(&[&a]).encode_to_vec();
        let on_b = above(&[&b]).encode_to_vec();
        let top = above(&[&on_a, &on_b]).encode_to_vec();
        let head = pb::Op {
            op: None,
            ..above(&[&top])
        };
        let named = |bytes: &[u8]| Digest::sha256_of(bytes).to_string();
        let definition = pb::Definition {
            // Not in the order of their inputs.
            def: [&top, &on_a, &a, &b, &on_b, &head.encode_to_vec()]
                .map(Vec::clone)
                .to_vec(),
            metadata: [(named(&on_a), pb::OpMetadata::default())].into(),
            source: None,
        };
        let found = sources_of(&definition).unwrap();
        let names: Vec<&Digest> = found.iter().map(|(digest, _)| digest).collect();
        assert_eq!(names, [&Digest::sha256_of(&a), &Digest::sha256_of(&b)]);
        let other = pb::SourceOp {
            identifier: "c".into(),
            ..pb::SourceOp::default()
        };
        let replaced = BTreeMap::from([(Digest::sha256_of(&a), other)]);
        let changed = replace_sources(&definition, &replaced).unwrap();
        let c = source("c").encode_to_vec();
        let on_c = above(&[&c]).encode_to_vec();
        let new_top = above(&[&on_c, &on_b]).encode_to_vec();
        let new_head = pb::Op {
            op: None,
            ..above(&[&new_top])
        };
        let want = [&new_top, &on_c, &c, &b, &on_b, &new_head.encode_to_vec()].map(Vec::clone);
        assert_eq!(changed.def, want);
        assert!(changed.metadata.contains_key(&named(&on_c)));
        let same = replace_sources(&definition, &BTreeMap::new()).unwrap();
        assert_eq!(same, definition);
    }
}
