use cooper_core::model::{Failure, FailureKind, ResultId};
use cooper_proto::pb;

use super::chain::{chain_of, keep};
use crate::snapshot::Snapshots;

/// Stacks the inputs in their order: a later one covers and deletes what an earlier one has. Copies nothing. The
/// result is pinned once.
///
/// # Errors
/// `InvalidInput` for an input that is not there, `Infrastructure` when the states cannot be read or recorded.
pub fn run(
    snapshots: &Snapshots,
    op: &pb::MergeOp,
    inputs: &[ResultId],
    description: &str,
) -> Result<ResultId, Failure> {
    let mut layers = Vec::new();
    for merged in &op.inputs {
        let input = usize::try_from(merged.input).ok().and_then(|index| inputs.get(index));
        let input = input.ok_or_else(|| {
            Failure::new(FailureKind::InvalidInput, format!("merge: there is no input {}", merged.input))
        })?;
        layers.extend(chain_of(snapshots, input)?);
    }
    keep(snapshots, layers, description)
}
