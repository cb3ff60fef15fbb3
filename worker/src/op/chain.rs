use cooper_core::model::{Failure, FailureKind, ResultId};

use crate::meta::LayerId;
use crate::snapshot::Snapshots;

/// The layers of a state, the lowest first.
pub(super) fn chain_of(snapshots: &Snapshots, result: &ResultId) -> Result<Vec<LayerId>, Failure> {
    if result.is_scratch() {
        return Ok(Vec::new());
    }
    let known = snapshots.meta().result(result);
    Ok(known.map_err(|error| broken(&error.to_string()))?.layers)
}

/// Records a chain of layers as a state, and pins it.
pub(super) fn keep(snapshots: &Snapshots, layers: Vec<LayerId>, description: &str) -> Result<ResultId, Failure> {
    if layers.is_empty() {
        return Ok(ResultId::scratch());
    }
    snapshots.compose(layers, description).map_err(|error| broken(&error.to_string()))
}

fn broken(message: &str) -> Failure {
    Failure::new(FailureKind::Infrastructure, message)
}
