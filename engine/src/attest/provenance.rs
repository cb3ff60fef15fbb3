use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind, redacted};
use cooper_core::ports::Predicate;
use cooper_proto::oci;
use serde_json::Map;

use super::layers::StepResults;
use super::predicate::Facts;
use crate::engine::Parts;

/// The provenance of one platform's result.
#[derive(Debug)]
pub(super) struct Provenance {
    pub(super) parts: Arc<Parts>,
    pub(super) facts: Facts,
    pub(super) results: Arc<StepResults>,
    /// When the build ended: when somebody first wanted to know.
    pub(super) finished_ns: Arc<OnceLock<u64>>,
}

#[async_trait]
impl Predicate for Provenance {
    async fn json(&self) -> Result<Bytes, Failure> {
        let finished = || self.parts.clock.now_ns();
        let finished_ns = *self.finished_ns.get_or_init(finished);
        let layers = match &self.facts.steps {
            Some(steps) => self.results.layers(&self.parts, steps).await?,
            None => Map::new(),
        };
        let predicate = self.facts.predicate(finished_ns, layers);
        let unwritten = |error: &dyn std::fmt::Display| {
            Failure::new(
                FailureKind::Internal,
                format!("provenance cannot be written: {error}"),
            )
        };
        let json = oci::to_json_indented(&predicate).map_err(|error| unwritten(&error))?;
        let text = String::from_utf8(json).map_err(|error| unwritten(&error))?;
        // Addresses may stand anywhere: in options, in ops, in what a machine's owner adds.
        Ok(Bytes::from(redacted(&text).into_owned()))
    }
}
