use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use cooper_core::model::{Attestation, Failure, FailureKind, Warning};
use cooper_core::ports::{ExportPart, ExportRequest, ExportResponse, Exporter, StatementSource};
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use super::platforms;
use crate::driver::contain;
use crate::engine::Parts;
use crate::job::{ExporterSpec, Job};
use crate::progress::VertexScope;

/// What all exporters of a build told.
#[derive(Debug, Default)]
pub(crate) struct Exported {
    /// Put together.
    pub(crate) response: ExportResponse,
    /// By their positions in the request.
    pub(crate) each: BTreeMap<u32, ExportResponse>,
}

/// What a build's exporters get.
#[derive(Debug)]
pub(crate) struct Results {
    /// One part a platform, pinned.
    pub(crate) parts: Vec<ExportPart>,
    /// What the frontend says of them.
    pub(crate) metadata: BTreeMap<String, Bytes>,
    /// Statements about them, by platform.
    pub(crate) attestations: BTreeMap<String, Vec<Attestation<StatementSource>>>,
}

/// An exporter with what a client told it, found fit for the work before the work began.
pub(crate) struct Export {
    exporter: Arc<dyn Exporter>,
    attributes: BTreeMap<String, String>,
    index: u32,
    name: String,
}

impl Export {
    /// Finds an exporter and has it look at its attributes.
    ///
    /// # Errors
    /// `NotFound` when there is none of the kind, and what the exporter has against the attributes.
    pub(crate) fn choose(parts: &Parts, spec: &ExporterSpec, index: u32) -> Result<Self, Failure> {
        let Some(exporter) = parts.exporters.get(&spec.kind) else {
            let known: Vec<_> = parts.exporters.keys().map(String::as_str).collect();
            return Err(Failure::new(
                FailureKind::NotFound,
                format!("exporter {:?} could not be found", spec.kind),
            )
            .with_hint(format!("exporters of this engine: {}", known.join(", "))));
        };
        Ok(Self {
            exporter: Arc::clone(exporter),
            name: exporter.describe(&spec.attributes)?,
            attributes: spec.attributes.clone(),
            index,
        })
    }

    async fn run(
        &self,
        job: &Job,
        request: ExportRequest,
        cancel: &CancellationToken,
    ) -> Result<ExportResponse, Failure> {
        let id = format!("{}-export-{}", job.id, self.index);
        let scope = VertexScope::start(Arc::clone(&job.log), &id, self.name.clone());
        let cancelled = Box::pin(cancel.clone().cancelled_owned());
        let work = self.exporter.export(request, scope.events(), cancelled);
        let result = contain("an exporter", work)
            .await
            .and_then(|result| result)
            .map_err(|failure| failure.of_vertex(scope.digest()));
        scope.end(&result);
        if result.is_err() {
            cancel.cancel();
        }
        result
    }
}

/// Warns when a result is not for the platforms that were asked for.
pub(crate) fn tell_of_platforms(
    parts: &Parts,
    job: &Job,
    requested: Option<&str>,
    results: &[ExportPart],
    metadata: &BTreeMap<String, Bytes>,
) {
    let platforms = parts.worker.info().platforms;
    let Some(host) = platforms.first() else {
        return;
    };
    let is_map = results.iter().any(|part| part.platform.is_some());
    if !is_map && results.iter().all(|part| part.result.is_none()) {
        return;
    }
    let warnings = platforms::mismatch(requested, metadata, is_map, host);
    if warnings.is_empty() {
        return;
    }
    let id = format!("{}-verify", job.id);
    let scope = VertexScope::start(
        Arc::clone(&job.log),
        &id,
        "Verifying build result".to_owned(),
    );
    for short in warnings {
        let warning = Warning {
            short,
            ..Warning::default()
        };
        job.log.warn(Some(scope.digest()), &warning);
    }
    scope.end(&Ok::<_, Failure>(()));
}

/// Runs all exporters of a build at the same time and puts together what they tell; where two tell the same key, the
/// later in the request counts.
///
/// # Errors
/// The first failure in the request's order that is not only the echo of another one. The others are stopped by it.
///
/// # Cancel
/// By the job's token; dropping the future is a fault, since exporters clean up.
pub(crate) async fn run_all(
    parts: &Parts,
    job: &Job,
    exports: &[&Export],
    results: Results,
) -> Result<Exported, Failure> {
    let cancel = job.cancel.child_token();
    let now_ns = parts.clock.now_ns();
    let ended = join_all(exports.iter().map(|export| {
        let request = ExportRequest {
            index: export.index,
            attributes: export.attributes.clone(),
            parts: results.parts.clone(),
            metadata: results.metadata.clone(),
            attestations: results.attestations.clone(),
            sessions: job.sessions.clone(),
            now_ns,
        };
        export.run(job, request, &cancel)
    }))
    .await;
    let mut exported = Exported::default();
    let mut failures = Vec::new();
    for (export, result) in exports.iter().zip(ended) {
        match result {
            Ok(told) => {
                exported.response.extend(told.clone());
                exported.each.insert(export.index, told);
            }
            Err(failure) => failures.push(failure),
        }
    }
    // A stable sort: causes before those that were stopped by them.
    failures.sort_by_key(|failure| failure.kind == FailureKind::Cancelled);
    match failures.into_iter().next() {
        None => Ok(exported),
        Some(failure) => Err(failure),
    }
}
