use std::sync::Arc;

use cooper_core::model::Failure;
use cooper_core::ports::{ImageQuery, ResolvedImage};
use cooper_proto::Digest;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::engine::Parts;
use crate::job::Job;
use crate::progress::VertexScope;

type Lookup = Arc<OnceCell<Result<ResolvedImage, Failure>>>;

/// What images of one build resolved to. Each is asked for once a build, however many stages stand on it, so that all
/// of them see the same image.
#[derive(Debug, Default)]
pub(super) struct Images {
    // A build has few of them, and a query holds a platform, which has no order.
    asked: Mutex<Vec<(ImageQuery, Lookup)>>,
}

impl Images {
    /// Resolves an image, shown as a vertex when the query has a name for it.
    pub(super) async fn resolve(
        &self,
        parts: &Parts,
        job: &Job,
        query: ImageQuery,
    ) -> Result<ResolvedImage, Failure> {
        let lookup = self.lookup(&query);
        lookup
            .get_or_init(|| async {
                let scope =
                    VertexScope::start(Arc::clone(&job.log), &vertex_id(job, &query), name(&query));
                let result = parts
                    .files
                    .resolve_image(&query, &job.sessions, scope.events())
                    .await
                    .map_err(|failure| failure.of_vertex(scope.digest()));
                scope.end(&result);
                result
            })
            .await
            .clone()
    }

    fn lookup(&self, query: &ImageQuery) -> Lookup {
        let same = |other: &ImageQuery| ImageQuery {
            log_name: String::new(),
            ..other.clone()
        };
        let mut asked = self.asked.lock();
        if let Some((_, lookup)) = asked.iter().find(|(old, _)| same(old) == same(query)) {
            return Arc::clone(lookup);
        }
        let lookup = Lookup::default();
        asked.push((query.clone(), Arc::clone(&lookup)));
        lookup
    }
}

fn name(query: &ImageQuery) -> String {
    if query.log_name.is_empty() {
        format!("resolve image config for {}", query.reference)
    } else {
        query.log_name.clone()
    }
}

fn vertex_id(job: &Job, query: &ImageQuery) -> String {
    let asked = Digest::sha256_of(format!("{query:?}"));
    format!("{}-image-{asked}", job.id)
}
