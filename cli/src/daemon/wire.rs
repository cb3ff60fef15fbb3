//! The one place that names the concrete worker, frontend and exporters together.

use std::path::Path;

use cooper_core::model::Failure;
use cooper_engine::Engine;

use super::EngineSettings;

/// Makes an engine on a state folder, which the caller has locked.
///
/// # Errors
/// When the folder cannot be used.
pub async fn assemble(_folder: &Path, _settings: EngineSettings) -> Result<Engine, Failure> {
    Err(Failure::unsupported("the local worker"))
}
