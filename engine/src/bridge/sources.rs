use std::sync::Arc;

use cooper_core::model::{Failure, redacted};
use cooper_core::ports::{SourceMeta, SourceQuery};
use cooper_proto::Digest;

use crate::engine::Parts;
use crate::job::Job;
use crate::progress::VertexScope;

/// Finds out what a source is now, shown as a vertex. The worker sees to it that the build sees it so from then on.
pub(super) async fn resolve(
    parts: &Parts,
    job: &Job,
    query: SourceQuery,
) -> Result<SourceMeta, Failure> {
    let query = SourceQuery {
        build: Some(job.id.clone()),
        ..query
    };
    let asked = Digest::sha256_of(format!("{:?}", query.source));
    let id = format!("{}-source-{asked}", job.id);
    let scope = VertexScope::start(Arc::clone(&job.log), &id, name(&query));
    let result = parts
        .files
        .resolve_source(&query, &job.sessions, scope.events())
        .await
        .map_err(|failure| failure.of_vertex(scope.digest()));
    scope.end(&result);
    result
}

fn name(query: &SourceQuery) -> String {
    if query.log_name.is_empty() {
        // BuildKit's words, for whatever kind of source.
        format!(
            "resolve image config for {}",
            redacted(&query.source.identifier)
        )
    } else {
        redacted(&query.log_name).into_owned()
    }
}
