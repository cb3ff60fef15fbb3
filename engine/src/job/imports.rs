//! Reads the caches that a build imports, beside the build.

use std::sync::Arc;

use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::{CacheImportRequest, CacheImporter, ImportedCache};
use cooper_core::remotecache::{Imported, IndexLimits};
use cooper_proto::Digest;
use futures::future::join_all;

use super::{CacheSpec, Job};
use crate::driver::{ImportSource, Imports, ImportsReady, contain};
use crate::engine::Parts;
use crate::progress::VertexScope;

/// The caches of a request, which are still to be read.
pub(super) struct PendingImports {
    specs: Vec<CacheSpec>,
    ready: ImportsReady,
}

/// Makes the caches of a request known; nothing when there are none.
pub(super) fn prepare(specs: &[CacheSpec]) -> (Option<Imports>, Option<PendingImports>) {
    if specs.is_empty() {
        return (None, None);
    }
    let mut specs = specs.to_vec();
    specs.sort();
    specs.dedup();
    let (imports, ready) = Imports::new(scope(&specs));
    (Some(imports), Some(PendingImports { specs, ready }))
}

/// A name for a set of caches: what one of them claims is believed by builds that name the same set.
fn scope(specs: &[CacheSpec]) -> Digest {
    Digest::sha256_of(format!("{specs:?}"))
}

impl PendingImports {
    /// Reads them all. One that cannot be read is shown as failed and is not asked.
    ///
    /// # Cancel
    /// Dropped, nobody waits for them any more.
    pub(super) async fn read(self, parts: &Parts, job: &Job) {
        let each = self.specs.iter().enumerate();
        let read = join_all(each.map(|(index, spec)| read(parts, job, index, spec))).await;
        let sources = read.into_iter().flatten().collect();
        self.ready.send_replace(Some(Arc::new(sources)));
    }
}

async fn read(parts: &Parts, job: &Job, index: usize, spec: &CacheSpec) -> Vec<ImportSource> {
    let importer = parts.cache_importers.get(&spec.kind);
    let described = match importer {
        Some(importer) => importer.describe(&spec.attributes),
        None => Err(Failure::new(
            FailureKind::NotFound,
            format!("unknown cache importer: {}", spec.kind),
        )),
    };
    let called = described.clone().unwrap_or_else(|_| spec.kind.clone());
    let scope = VertexScope::start(
        Arc::clone(&job.log),
        &format!("{}-import-{index}", job.id),
        format!("importing cache manifest from {called}"),
    );
    let read = match (importer, described) {
        (Some(importer), Ok(_)) => import(importer.as_ref(), job, spec, &scope).await,
        (_, Err(failure)) => Err(failure),
        (None, Ok(_)) => Ok(Vec::new()),
    };
    scope.end(&read);
    read.unwrap_or_else(|failure| {
        tracing::warn!(%failure, kind = spec.kind, "a cache was not imported");
        Vec::new()
    })
}

async fn import(
    importer: &dyn CacheImporter,
    job: &Job,
    spec: &CacheSpec,
    scope: &VertexScope,
) -> Result<Vec<ImportSource>, Failure> {
    let request = CacheImportRequest {
        attributes: spec.attributes.clone(),
        sessions: job.sessions.clone(),
    };
    let work = importer.import(request, scope.events());
    let caches = contain("a cache importer", work)
        .await
        .and_then(|result| result)?;
    caches.into_iter().map(source).collect()
}

fn source(cache: ImportedCache) -> Result<ImportSource, Failure> {
    let index = Imported::new(&cache.config, &IndexLimits::default())
        .map_err(|error| Failure::new(FailureKind::InvalidInput, error.to_string()))?;
    Ok(ImportSource {
        index,
        layers: cache.layers,
    })
}
