use std::collections::BTreeMap;

use cooper_core::model::{Edge, Failure, ResultId};
use cooper_core::scheduler::EdgeRecord;
use cooper_proto::Digest;
use cooper_proto::oci::Descriptor;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::steps::Steps;
use crate::driver::Imports;
use crate::engine::Parts;
use crate::job::Job;

/// The results of a build's steps. Those that the build did not need are pinned until [`StepResults::release`].
#[derive(Debug, Default)]
pub(super) struct StepResults {
    known: Vec<(Digest, u32, ResultId)>,
    pins: Mutex<Vec<ResultId>>,
}

/// Whether results of steps are looked for that the build itself did not need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effort {
    /// What the build has.
    AsItIs,
    /// What the cache has too.
    Thorough,
}

impl StepResults {
    /// Finds the results of all steps that lead to these outputs.
    ///
    /// # Errors
    /// When the cache's store cannot be read.
    pub(super) async fn find(
        parts: &Parts,
        job: &Job,
        imports: &[Imports],
        outputs: Vec<Edge>,
        effort: Effort,
    ) -> Result<Self, Failure> {
        let records = parts.driver.records(&job.id, outputs).await;
        let mut found = Self::default();
        for record in records {
            match found.look_up(parts, imports, &record, effort).await {
                Ok(Some(result)) if !result.is_scratch() => {
                    found.known.push((record.vertex, record.output, result));
                }
                Ok(_) => {}
                Err(failure) => {
                    found.release(parts).await;
                    return Err(failure);
                }
            }
        }
        Ok(found)
    }

    async fn look_up(
        &self,
        parts: &Parts,
        imports: &[Imports],
        record: &EdgeRecord,
        effort: Effort,
    ) -> Result<Option<ResultId>, Failure> {
        if record.result.is_some() || effort == Effort::AsItIs {
            return Ok(record.result.clone());
        }
        let found = parts.driver.cached(record, imports).await?;
        let found = found.map(|cached| cached.result);
        self.pins.lock().extend(found.clone());
        Ok(found)
    }

    /// The layers of the steps whose layers all have archives by now, by the names of their outputs.
    ///
    /// # Errors
    /// When the worker cannot tell.
    pub(super) async fn layers(
        &self,
        parts: &Parts,
        steps: &Steps,
    ) -> Result<Map<String, Value>, Failure> {
        let mut layers = BTreeMap::<String, Vec<Vec<Descriptor>>>::new();
        for (vertex, output, result) in &self.known {
            let Some(name) = steps.name(vertex, *output) else {
                continue;
            };
            if let Some(chain) = parts.files.layer_blobs(result).await? {
                let chains = layers.entry(name).or_default();
                if !chains.contains(&chain) {
                    chains.push(chain);
                }
            }
        }
        let layers = layers.into_iter();
        Ok(layers.map(|(name, chains)| (name, json!(chains))).collect())
    }

    /// Gives the pins back.
    pub(super) async fn release(&self, parts: &Parts) {
        let pins = std::mem::take(&mut *self.pins.lock());
        parts.driver.release(pins).await;
    }
}
