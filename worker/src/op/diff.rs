use cooper_core::model::{Failure, FailureKind, ResultId};
use cooper_proto::pb;

use super::chain::{chain_of, keep};
use crate::snapshot::Snapshots;

/// What the upper state has on top of the lower one. Copies nothing: the upper's chain is cut where the lower's ends.
/// The result is pinned once.
///
/// # Errors
/// `Unsupported` when the upper does not stand on the lower, `InvalidInput` for an input that is not there,
/// `Infrastructure` when the states cannot be read or recorded.
pub fn run(
    snapshots: &Snapshots,
    op: &pb::DiffOp,
    inputs: &[ResultId],
    description: &str,
) -> Result<ResultId, Failure> {
    let side = |index: Option<i64>, name: &str| match index {
        None | Some(-1) => Ok(ResultId::scratch()),
        Some(index) => usize::try_from(index)
            .ok()
            .and_then(|index| inputs.get(index))
            .cloned()
            .ok_or_else(|| Failure::new(FailureKind::InvalidInput, format!("diff: there is no {name} {index}"))),
    };
    let lower = chain_of(snapshots, &side(op.lower.as_ref().map(|it| it.input), "lower")?)?;
    let upper = chain_of(snapshots, &side(op.upper.as_ref().map(|it| it.input), "upper")?)?;
    match upper.strip_prefix(lower.as_slice()) {
        Some(added) => keep(snapshots, added.to_vec(), description),
        None => Err(Failure::unsupported("a diff of two states of which the upper does not stand on the lower")),
    }
}
