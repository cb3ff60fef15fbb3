use cooper_core::model::ResultId;
use cooper_proto::pb;

use super::ChainError;
use super::compare::compare;
use super::explicit::spell_out;
use crate::fileop::Stop;
use crate::meta::LayerForm;
use crate::snapshot::Snapshots;

/// What has to be done to the lower state to get the upper one. The result is pinned once.
///
/// Where the upper was made on top of the lower, that is what was done, also where it was undone later; this is
/// BuildKit's rule and keeps layers shared. Otherwise the two are compared.
///
/// # Errors
/// For an input that is not there, and where the states cannot be read or recorded.
pub fn diff(
    snapshots: &Snapshots,
    op: &pb::DiffOp,
    inputs: &[ResultId],
    description: &str,
    stop: &Stop,
) -> Result<ResultId, ChainError> {
    let lower = side(inputs, op.lower.as_ref().map(|lower| lower.input), "lower")?;
    let upper = side(inputs, op.upper.as_ref().map(|upper| upper.input), "upper")?;
    let below = snapshots.meta().result(&lower)?.layers;
    let above = snapshots.meta().result(&upper)?.layers;
    let Some(rest) = above.strip_prefix(below.as_slice()) else {
        return compare(snapshots, &lower, &upper, description, stop);
    };
    let mut chain = Vec::with_capacity(rest.len());
    for (index, layer) in rest.iter().enumerate() {
        let info = snapshots.meta().layer(layer)?;
        let is_moved = !below.is_empty();
        chain.push(if is_moved && info.form == LayerForm::Opaque {
            spell_out(snapshots, &info, &above[..below.len() + index], stop)?
        } else {
            layer.clone()
        });
    }
    Ok(snapshots.compose(chain, description)?)
}

/// The state at an index; none and -1 are the empty one.
pub(super) fn side(
    inputs: &[ResultId],
    index: Option<i64>,
    side: &'static str,
) -> Result<ResultId, ChainError> {
    match index {
        None | Some(-1) => Ok(ResultId::scratch()),
        Some(index) => usize::try_from(index)
            .ok()
            .and_then(|at| inputs.get(at))
            .cloned()
            .ok_or(ChainError::NoInput { side, index }),
    }
}
