use std::collections::BTreeMap;
use std::sync::Arc;

use cooper_core::model::{Edge, Failure, FailureKind, ResultId};
use cooper_core::ports::{CacheExportRequest, CacheExporter, CacheMode, ExportResponse};
use cooper_core::remotecache::Chains;
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::driver::{Imports, contain};
use crate::engine::Parts;
use crate::job::{CacheSpec, Job};
use crate::progress::VertexScope;

/// The kind of cache that is written into the images of the build.
const INLINE: &str = "inline";

/// The caches that a build is to write, found fit for it before it began.
#[derive(Default)]
pub(crate) struct CacheExports {
    /// Whether the build's images get theirs.
    pub(crate) inline: bool,
    others: Vec<CacheExport>,
}

struct CacheExport {
    exporter: Arc<dyn CacheExporter>,
    attributes: BTreeMap<String, String>,
    mode: CacheMode,
    ignore_error: bool,
    index: usize,
    name: String,
}

/// Keys and results of a build, pinned until [`Gathered::release`].
pub(crate) struct Gathered {
    pub(crate) chains: Arc<Chains>,
    pins: Vec<ResultId>,
}

impl CacheExports {
    /// Finds the exporters and has them look at their attributes.
    ///
    /// # Errors
    /// `NotFound` for an unknown kind, `InvalidInput` for the same cache twice, and what an exporter has against its
    /// attributes.
    pub(crate) fn choose(parts: &Parts, specs: &[CacheSpec]) -> Result<Self, Failure> {
        let mut chosen = Self::default();
        let mut seen: Vec<&CacheSpec> = Vec::new();
        for spec in specs {
            if spec.kind == INLINE {
                chosen.inline = true;
                continue;
            }
            if seen.contains(&spec) {
                return Err(Failure::new(
                    FailureKind::InvalidInput,
                    format!("duplicate cache exports [{}]", spec.kind),
                ));
            }
            seen.push(spec);
            chosen
                .others
                .push(CacheExport::choose(parts, spec, chosen.others.len())?);
        }
        Ok(chosen)
    }

    /// Whether keys and results are needed at all.
    pub(crate) fn any(&self) -> bool {
        self.inline || !self.others.is_empty()
    }

    /// Writes all caches at the same time.
    ///
    /// # Errors
    /// The first failure, unless the client wants it ignored. Its vertex shows it in any case.
    ///
    /// # Cancel
    /// By the job's token; dropping the future is a fault.
    pub(crate) async fn run_all(
        &self,
        job: &Job,
        gathered: &Gathered,
        finals: &[ResultId],
    ) -> Result<ExportResponse, Failure> {
        let cancel = job.cancel.child_token();
        let each = self.others.iter();
        let ended = join_all(each.map(|export| export.run(job, gathered, finals, &cancel))).await;
        let mut response = ExportResponse::new();
        for (export, result) in self.others.iter().zip(ended) {
            match result {
                Ok(told) => response.extend(told),
                Err(failure) if export.ignore_error && failure.kind != FailureKind::Cancelled => {
                    tracing::warn!(%failure, "a cache was not exported");
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(response)
    }
}

impl CacheExport {
    fn choose(parts: &Parts, spec: &CacheSpec, index: usize) -> Result<Self, Failure> {
        let Some(exporter) = parts.cache_exporters.get(&spec.kind) else {
            let known: Vec<_> = parts.cache_exporters.keys().map(String::as_str).collect();
            return Err(Failure::new(
                FailureKind::NotFound,
                format!("unknown cache exporter: {:?}", spec.kind),
            )
            .with_hint(format!(
                "caches that this engine exports: inline, {}",
                known.join(", ")
            )));
        };
        let name = exporter.describe(&spec.attributes).map_err(|mut failure| {
            let kind = &spec.kind;
            failure.message = format!(
                "failed to configure {kind} cache exporter: {}",
                failure.message
            );
            failure
        })?;
        let attribute = |key: &str| spec.attributes.get(key).map(String::as_str);
        Ok(Self {
            exporter: Arc::clone(exporter),
            // A mode that does not exist is as good as none, for clients of BuildKit.
            mode: match attribute("mode") {
                Some("max") => CacheMode::Max,
                _ => CacheMode::Min,
            },
            ignore_error: matches!(
                attribute("ignore-error"),
                Some("1" | "t" | "T" | "true" | "TRUE" | "True")
            ),
            attributes: spec.attributes.clone(),
            index,
            name,
        })
    }

    async fn run(
        &self,
        job: &Job,
        gathered: &Gathered,
        finals: &[ResultId],
        cancel: &CancellationToken,
    ) -> Result<ExportResponse, Failure> {
        let id = format!("{}-cache-{}", job.id, self.index);
        let scope = VertexScope::start(Arc::clone(&job.log), &id, self.name.clone());
        let request = CacheExportRequest {
            attributes: self.attributes.clone(),
            mode: self.mode,
            chains: Arc::clone(&gathered.chains),
            finals: finals.to_vec(),
            sessions: job.sessions.clone(),
        };
        let cancelled = Box::pin(cancel.clone().cancelled_owned());
        let work = self.exporter.export(request, scope.events(), cancelled);
        let result = contain("a cache exporter", work)
            .await
            .and_then(|result| result)
            .map_err(|failure| failure.of_vertex(scope.digest()));
        scope.end(&result);
        if result.is_err() && !self.ignore_error {
            cancel.cancel();
        }
        result
    }
}

/// Finds how the keys of a build's results were made and what else they lead to.
///
/// # Errors
/// When the cache's store cannot be read.
pub(crate) async fn gather(
    parts: &Parts,
    job: &Job,
    imports: &[Imports],
    finals: Vec<Edge>,
) -> Result<Gathered, Failure> {
    let mut records = parts.driver.records(&job.id, finals).await;
    let mut results = Vec::with_capacity(records.len());
    let mut pins = Vec::new();
    for record in &records {
        // What a source gives, every builder can get again.
        if record.of_session || record.inputs.is_empty() {
            results.push(None);
            continue;
        }
        match parts.driver.cached(record, imports).await {
            Ok(found) => {
                pins.extend(found.iter().map(|cached| cached.result.clone()));
                results.push(found.map(|cached| (cached.result, cached.created_ns)));
            }
            Err(failure) => {
                parts.driver.release(pins).await;
                return Err(failure);
            }
        }
    }
    let origins = match parts.driver.origins(&records, imports).await {
        Ok(origins) => origins,
        Err(failure) => {
            parts.driver.release(pins).await;
            return Err(failure);
        }
    };
    for record in &mut records {
        let late = parts.driver.late_digest(&job.id, &job.sessions, record);
        record.ops.extend(late.await);
    }
    Ok(Gathered {
        chains: Arc::new(Chains::of(&records, &results, &origins)),
        pins,
    })
}

impl Gathered {
    /// Gives the pins back.
    pub(crate) async fn release(self, parts: &Parts) {
        parts.driver.release(self.pins).await;
    }
}
