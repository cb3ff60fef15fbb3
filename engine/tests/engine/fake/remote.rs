use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use cooper_core::model::{Failure, FailureKind, ResultId};
use cooper_core::ports::{
    CacheExportRequest, CacheExporter, CacheImportRequest, CacheImporter, Cancelled, Events,
    ExportResponse, ImportedCache, ImportedLayers, Worker,
};
use cooper_core::remotecache::{Chains, DocumentResult, document};
use cooper_proto::Digest;
use cooper_proto::cache_config::{CacheConfig, CacheRecord};
use parking_lot::Mutex;

use super::worker::FakeWorker;

/// A place where caches are kept. The attribute `do=fail` makes writing and reading fail.
#[derive(Default)]
pub(crate) struct FakeRemote {
    config: Mutex<Option<CacheConfig>>,
    worker: Mutex<Option<Arc<FakeWorker>>>,
}

impl FakeRemote {
    /// A place that has what another has.
    pub(crate) fn copy_of(other: &Self) -> Arc<Self> {
        Arc::new(Self {
            config: Mutex::new(other.config.lock().clone()),
            worker: Mutex::default(),
        })
    }

    /// Results are this worker's.
    pub(super) fn attach(&self, worker: &Arc<FakeWorker>) {
        *self.worker.lock() = Some(Arc::clone(worker));
    }

    /// The records that were written, without their results.
    pub(crate) fn keys(&self) -> Vec<CacheRecord> {
        let config = self.config.lock();
        let records = config.iter().flat_map(|config| config.records.clone());
        let without = records.map(|record| CacheRecord {
            results: Vec::new(),
            ..record
        });
        without.collect()
    }

    /// How many records were written.
    pub(crate) fn records(&self) -> usize {
        self.config.lock().as_ref().map_or(0, |it| it.records.len())
    }
}

fn checked(attributes: &BTreeMap<String, String>) -> Result<(), Failure> {
    match attributes.get("do").map(String::as_str) {
        Some("fail") => Err(Failure::new(
            FailureKind::Infrastructure,
            "the place is gone",
        )),
        _ => Ok(()),
    }
}

fn written(chains: &Chains) -> CacheConfig {
    let results = chains.records.iter().map(|record| {
        let (result, _) = record.result.as_ref()?;
        Some(DocumentResult {
            blobs: vec![Digest::sha256_of(&result.0)],
            created_at: "2026-01-01T00:00:00Z".to_owned(),
        })
    });
    document(chains, &results.collect::<Vec<_>>())
}

#[async_trait]
impl CacheExporter for FakeRemote {
    fn kind(&self) -> &str {
        "fake"
    }

    fn describe(&self, _: &BTreeMap<String, String>) -> Result<String, Failure> {
        Ok("exporting cache to nowhere".to_owned())
    }

    async fn export(
        &self,
        request: CacheExportRequest,
        _: Events,
        _: Cancelled,
    ) -> Result<ExportResponse, Failure> {
        checked(&request.attributes)?;
        *self.config.lock() = Some(written(&request.chains));
        Ok([("cache.manifest".to_owned(), "here".to_owned())].into())
    }
}

#[async_trait]
impl CacheImporter for FakeRemote {
    fn kind(&self) -> &str {
        "fake"
    }

    fn describe(&self, _: &BTreeMap<String, String>) -> Result<String, Failure> {
        Ok("nowhere".to_owned())
    }

    async fn import(
        &self,
        request: CacheImportRequest,
        _: Events,
    ) -> Result<Vec<ImportedCache>, Failure> {
        checked(&request.attributes)?;
        let config = self.config.lock().clone();
        let worker = self.worker.lock().clone().expect("the bench attached it");
        Ok(config
            .into_iter()
            .map(|config| ImportedCache {
                config,
                layers: Arc::new(Claims(Arc::clone(&worker))),
            })
            .collect())
    }
}

struct Claims(Arc<FakeWorker>);

#[async_trait]
impl ImportedLayers for Claims {
    async fn compose(&self, blobs: &[Digest]) -> Result<Option<ResultId>, Failure> {
        let result = ResultId(format!("claimed {}", blobs[0].short()));
        self.0.retain(&result).await?;
        Ok(Some(result))
    }
}
