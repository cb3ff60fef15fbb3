use anyhow::{Context, Result};
use cooper_proto::{Digest, frontend, pb};
use prost::Message;

use crate::bench::{BUILD_ID, Bench, Case, Counts, nothing_wrong};
use crate::caller::Call;
use crate::malformed::malformed;
use crate::plan;

/// How far fields of ops are followed.
const DEPTH: usize = 4;

/// An op of each kind that can be performed, by the name of its field.
fn ops() -> Vec<(&'static str, pb::op::Op)> {
    let definition = plan::definition();
    let file = pb::Op::decode(definition.def[0].as_slice());
    let file = file.ok().and_then(|op| op.op);
    let mut ops = vec![
        (
            "source",
            pb::op::Op::Source(pb::SourceOp {
                identifier: "local://context".into(),
                ..pb::SourceOp::default()
            }),
        ),
        (
            "exec",
            pb::op::Op::Exec(pb::ExecOp {
                meta: Some(pb::Meta {
                    args: vec!["/none".into()],
                    cwd: "/".into(),
                    ..pb::Meta::default()
                }),
                mounts: vec![pb::Mount {
                    input: 0,
                    dest: "/".into(),
                    ..pb::Mount::default()
                }],
                ..pb::ExecOp::default()
            }),
        ),
        (
            "merge",
            pb::op::Op::Merge(pb::MergeOp {
                inputs: vec![pb::MergeInput { input: 0 }, pb::MergeInput { input: 1 }],
            }),
        ),
        (
            "diff",
            pb::op::Op::Diff(pb::DiffOp {
                lower: Some(pb::LowerDiffInput { input: 0 }),
                upper: Some(pb::UpperDiffInput { input: 1 }),
            }),
        ),
        ("build", pb::op::Op::Build(pb::BuildOp::default())),
        (
            "passthrough",
            pb::op::Op::Passthrough(pb::PassthroughOp::default()),
        ),
        ("platform", pb::op::Op::Merge(pb::MergeOp::default())),
        ("inputs", pb::op::Op::Merge(pb::MergeOp::default())),
    ];
    ops.extend(file.map(|op| ("file", op)));
    ops
}

/// Graphs of which one op is malformed. It reads one result twice.
fn graphs() -> Result<Vec<(String, pb::Definition)>> {
    let message = plan::description()?.get_message_by_name("pb.Op");
    let forms = malformed(&message.context("the description of ops")?, DEPTH);
    let base = plan::definition().def.swap_remove(0);
    let input = pb::Input {
        digest: Digest::sha256_of(&base).to_string(),
        index: 0,
    };
    let mut graphs = Vec::new();
    for (field, op) in ops() {
        let op = pb::Op {
            inputs: vec![input.clone(), input.clone()],
            op: Some(op),
            ..pb::Op::default()
        };
        let op = op.encode_to_vec();
        let prefix = format!("{field}: ");
        let of_field = forms.iter().filter(|form| form.what.starts_with(&prefix));
        graphs.extend(of_field.map(|form| {
            let op = [op.as_slice(), &form.bytes].concat();
            let definition = plan::ending_in(&op, vec![base.clone()]);
            (form.what.clone(), definition)
        }));
    }
    Ok(graphs)
}

// T-A3, T-A13
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_malformed_field_of_every_op_gets_a_status() -> Result<()> {
    let mut bench = Bench::new().await?;
    let driven = bench.drive().await?;
    let path = "/moby.buildkit.v1.frontend.LLBBridge/Solve";
    let mut cases = Vec::new();
    for (what, definition) in graphs()? {
        let request = frontend::SolveRequest {
            definition: Some(definition),
            allow_result_return: true,
            allow_result_array_ref: true,
            evaluate: true,
            ..frontend::SolveRequest::default()
        };
        let call = Call::new(path, &request.encode_to_vec());
        let call = call.with(BUILD_ID, driven.job.as_bytes())?;
        cases.push(Case { what, call });
    }
    let mut counts = Counts::default();
    let wrong = bench.try_all(cases, &mut counts).await;
    bench.still_serves().await?;
    eprintln!("{counts}");
    nothing_wrong(&wrong)?;
    assert!(counts.total() > 500, "{counts}");
    Ok(())
}
