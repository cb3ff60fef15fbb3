use cooper_core::model::Failure;
use cooper_core::ports::ExportResponse;

use crate::progress::BuildSummary;

/// How a build ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SolveOutcome {
    /// What the exporters told, such as `containerimage.digest`, or why there is nothing.
    pub result: Result<ExportResponse, Failure>,
    /// What happened on the way.
    pub summary: BuildSummary,
}
