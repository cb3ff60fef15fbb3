use cooper_core::model::{Failure, FailureKind, ResultId};
use cooper_proto::pb;

use crate::snapshot::{SnapshotError, Snapshots};

/// Stacks the inputs in their order: a later one covers and deletes what an earlier one has. Copies nothing. The
/// result is pinned once.
///
/// # Errors
/// `InvalidInput` for an input that is not there, `Infrastructure` when the states cannot be read or recorded.
pub fn merge(
    snapshots: &Snapshots,
    op: &pb::MergeOp,
    inputs: &[ResultId],
    description: &str,
) -> Result<ResultId, Failure> {
    let mut merged = Vec::new();
    for input in &op.inputs {
        merged.push(side(inputs, Some(input.input), "input")?);
    }
    let made = snapshots.merge(&merged, description);
    made.map_err(|error| Failure::new(FailureKind::Infrastructure, error.to_string()))
}

/// What the upper state has on top of the lower one. Copies nothing. The result is pinned once.
///
/// # Errors
/// `Unsupported` when the upper was not made on top of the lower, `InvalidInput` for an input that is not there,
/// `Infrastructure` when the states cannot be read or recorded.
pub fn diff(
    snapshots: &Snapshots,
    op: &pb::DiffOp,
    inputs: &[ResultId],
    description: &str,
) -> Result<ResultId, Failure> {
    let lower = side(inputs, op.lower.as_ref().map(|lower| lower.input), "lower")?;
    let upper = side(inputs, op.upper.as_ref().map(|upper| upper.input), "upper")?;
    snapshots
        .diff(&lower, &upper, description)
        .map_err(|error| match error {
            SnapshotError::NoCommonChain { .. } => Failure::unsupported(
                "a diff of two states of which the upper was not made on top of the lower",
            ),
            other => Failure::new(FailureKind::Infrastructure, other.to_string()),
        })
}

/// The state at an index; none and -1 are the empty one.
fn side(inputs: &[ResultId], index: Option<i64>, name: &str) -> Result<ResultId, Failure> {
    match index {
        None | Some(-1) => Ok(ResultId::scratch()),
        Some(index) => usize::try_from(index)
            .ok()
            .and_then(|index| inputs.get(index))
            .cloned()
            .ok_or_else(|| {
                Failure::new(
                    FailureKind::InvalidInput,
                    format!("there is no {name} {index}"),
                )
            }),
    }
}
