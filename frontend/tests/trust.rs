//! What images say of themselves is copied, and never obeyed.

mod support;

use cooper_proto::pb;
use prost::Message;
use support::case::Case;
use support::run;

/// The ops of a Dockerfile on a base image, without where they stand in the graph.
fn ops(base: &str) -> Vec<pb::Op> {
    let dockerfile = format!(
        "FROM {base}\nRUN --mount=type=cache,target=/c echo a\nCOPY a /b\nWORKDIR /w\nUSER 7\nRUN id\n"
    );
    let outcome = run(&Case::of(&dockerfile)).expect("it converts");
    let bytes = outcome.parts[0].definition.def.iter();
    let ops = bytes.map(|bytes| pb::Op::decode(bytes.as_slice()).expect("an op"));
    ops.map(|mut op| {
        for input in &mut op.inputs {
            input.digest.clear();
        }
        if let Some(pb::op::Op::Source(source)) = &mut op.op {
            // The image's own name and digest, which its labels are part of.
            let (scheme, _) = source.identifier.split_once("://").expect("an identifier");
            if scheme == "docker-image" {
                source.identifier = scheme.to_owned();
            }
        }
        op
    })
    .collect()
}

// T-C11
#[test]
fn labels_of_a_base_image_change_no_op() {
    let plain = ops("busybox");
    assert!(plain.len() > 5, "{plain:?}");
    assert_eq!(ops("labelled"), plain);
}
