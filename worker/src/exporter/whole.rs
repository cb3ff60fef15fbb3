use std::collections::BTreeMap;

use async_trait::async_trait;
use cooper_core::{
    model::{Failure, FailureKind},
    ports::{Cancelled, Events, ExportRequest, ExportResponse, Exporter},
};
use futures::FutureExt;

use super::image::ensure_statements;
use crate::source::ImageSource;

/// An exporter that looks into results, given only results that are here whole: layers of
/// images that are still in their registry are fetched first.
pub struct Whole<E> {
    exporter: E,
    source: ImageSource,
}

impl<E: Exporter> Whole<E> {
    /// The same exporter for results that may lack layers.
    #[must_use]
    pub fn new(exporter: E, source: &ImageSource) -> Self {
        Self {
            exporter,
            source: source.clone(),
        }
    }

    async fn fetch(&self, request: &ExportRequest, events: &Events) -> Result<(), Failure> {
        let results = request.parts.iter().filter_map(|part| part.result.as_ref());
        for result in results.filter(|result| !result.is_scratch()) {
            let sessions = &request.sessions;
            self.source.ensure(result, sessions, events).await?;
        }
        let statements = request.attestations.values().flatten();
        ensure_statements(&self.source, statements, &request.sessions, events).await
    }
}

#[async_trait]
impl<E: Exporter> Exporter for Whole<E> {
    fn kind(&self) -> &str {
        self.exporter.kind()
    }

    fn describe(&self, attributes: &BTreeMap<String, String>) -> Result<String, Failure> {
        self.exporter.describe(attributes)
    }

    async fn export(
        &self,
        request: ExportRequest,
        events: Events,
        cancelled: Cancelled,
    ) -> Result<ExportResponse, Failure> {
        let cancelled = cancelled.shared();
        tokio::select! {
            fetched = self.fetch(&request, &events) => fetched?,
            () = cancelled.clone() => {
                return Err(Failure::new(FailureKind::Cancelled, "the export was cancelled"));
            }
        }
        self.exporter
            .export(request, events, Box::pin(cancelled))
            .await
    }
}
