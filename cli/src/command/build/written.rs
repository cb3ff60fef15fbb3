use std::path::PathBuf;

use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::ExportResponse;

use super::cache::CacheIndex;
use super::layout_index;
use super::output::Target;
use super::plan::Plan;

/// Files of the client that say what exporters have put into its folders.
#[derive(Debug)]
pub(in crate::command) struct WrittenAfter {
    caches: Vec<CacheIndex>,
    layout: Option<PathBuf>,
}

impl WrittenAfter {
    /// Those of a plan.
    pub(in crate::command) fn of(plan: &Plan) -> Self {
        let layout = plan.outputs.iter().find_map(|output| match &output.target {
            Target::Layout(folder) => Some(folder.clone()),
            _ => None,
        });
        Self {
            caches: plan.caches.indexes.clone(),
            layout,
        }
    }

    /// Writes them.
    ///
    /// # Errors
    /// `Infrastructure` when a folder cannot be written.
    pub(in crate::command) fn write(&self, response: &ExportResponse) -> Result<(), Failure> {
        let failed = |what: &str, error: std::io::Error| {
            let words = format!("the {what}'s index cannot be written: {error}");
            Failure::new(FailureKind::Infrastructure, words)
        };
        for index in &self.caches {
            let written = index.write(response);
            written.map_err(|error| failed("cache", error))?;
        }
        if let Some(folder) = &self.layout {
            let written = layout_index::write(folder, response);
            written.map_err(|error| failed("layout", error))?;
        }
        Ok(())
    }
}
