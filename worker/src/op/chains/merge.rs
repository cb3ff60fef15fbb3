use cooper_core::model::ResultId;
use cooper_proto::pb;

use super::ChainError;
use super::diff::side;
use super::explicit::spell_out;
use crate::fileop::Stop;
use crate::meta::LayerForm;
use crate::snapshot::Snapshots;

/// Stacks the inputs in their order: a later one covers and deletes what an earlier one has. The result is pinned once.
///
/// # Errors
/// For an input that is not there, and where the states cannot be read or recorded.
pub fn merge(
    snapshots: &Snapshots,
    op: &pb::MergeOp,
    inputs: &[ResultId],
    description: &str,
    stop: &Stop,
) -> Result<ResultId, ChainError> {
    let mut chain = Vec::new();
    for input in &op.inputs {
        let input = side(inputs, Some(input.input), "input")?;
        let layers = snapshots.meta().result(&input)?.layers;
        for (index, layer) in layers.iter().enumerate() {
            let info = snapshots.meta().layer(layer)?;
            let below = &layers[..index];
            // On top of what it was made on, an opaque directory hides what it should.
            let is_moved = chain != below;
            let layer = if is_moved && info.form == LayerForm::Opaque {
                spell_out(snapshots, &info, below, stop)?
            } else {
                layer.clone()
            };
            chain.push(layer);
        }
    }
    Ok(snapshots.compose(chain, description)?)
}
