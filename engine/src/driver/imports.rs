use std::sync::Arc;

use cooper_core::model::{CacheKeyId, Failure};
use cooper_core::ports::{CachedResult, ImportedLayers, KeyQuery, LookupAnswer, Worker};
use cooper_core::remotecache::{Imported, Origin};
use cooper_proto::Digest;
use tokio::sync::watch;

/// The caches that a build imports. They are read while the build begins; who asks them waits until that is done.
#[derive(Debug, Clone)]
pub(crate) struct Imports {
    /// A name for all of them together.
    pub(crate) scope: Digest,
    sources: Vec<watch::Receiver<Option<ReadCaches>>>,
}

/// The caches that one place had.
pub(crate) type ReadCaches = Arc<Vec<ImportSource>>;

/// Where the caches go once they were read. Dropped before, there are none.
pub(crate) type ImportsReady = watch::Sender<Option<ReadCaches>>;

/// One cache that was read.
pub(crate) struct ImportSource {
    pub(crate) index: Imported,
    pub(crate) layers: Arc<dyn ImportedLayers>,
}

impl std::fmt::Debug for ImportSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImportSource")
            .field("keys", &self.index.len())
            .finish_non_exhaustive()
    }
}

impl Imports {
    /// Caches that are still to be read.
    pub(crate) fn new(scope: Digest) -> (Self, ImportsReady) {
        let (ready, sources) = watch::channel(None);
        let sources = vec![sources];
        (Self { scope, sources }, ready)
    }

    /// Those of a build, if it has any, and further ones, under a name for all of them.
    pub(crate) fn and(base: Option<&Self>, further: Vec<ReadCaches>, scope: Digest) -> Self {
        let base = base.iter().flat_map(|base| base.sources.iter().cloned());
        let further = further.into_iter().map(|read| watch::channel(Some(read)).1);
        let sources = base.chain(further).collect();
        Self { scope, sources }
    }

    async fn sources(&self) -> Vec<ReadCaches> {
        let mut all = Vec::with_capacity(self.sources.len());
        for mut sources in self.sources.iter().cloned() {
            // Whoever read them may have given up.
            if let Ok(sources) = sources.wait_for(Option::is_some).await {
                all.extend(sources.clone());
            }
        }
        all
    }

    /// Adds what the caches know to an answer.
    pub(super) async fn lookup(&self, query: &KeyQuery, answer: &mut LookupAnswer) {
        for source in self.sources().await.iter().flat_map(|it| it.iter()) {
            merge(answer, source.index.lookup(query));
        }
    }

    /// How one of their keys is made.
    pub(super) async fn origin(&self, key: &CacheKeyId) -> Option<Origin> {
        let sources = self.sources().await;
        let mut sources = sources.iter().flat_map(|it| it.iter());
        sources.find_map(|it| it.index.origin(key))
    }

    /// The results that the caches have under keys, as results of the worker whose bytes are still elsewhere.
    pub(super) async fn results(
        &self,
        worker: &dyn Worker,
        keys: &[CacheKeyId],
    ) -> Result<Vec<CachedResult>, Failure> {
        let mut all = Vec::new();
        for source in self.sources().await.iter().flat_map(|it| it.iter()) {
            for told in keys.iter().flat_map(|key| source.index.results(key)) {
                let Some(result) = source.layers.compose(&told.blobs).await? else {
                    continue;
                };
                // Whoever takes it pins it.
                worker.release(vec![result.clone()]).await;
                all.push(CachedResult {
                    result,
                    created_ns: nanoseconds(&told.created_at),
                    imported: true,
                });
            }
        }
        Ok(all)
    }
}

/// Adds an answer of a cache whose keys hold for one scope only.
pub(super) fn merge(answer: &mut LookupAnswer, other: LookupAnswer) {
    answer.op_known |= other.op_known;
    for (known, also) in answer.inputs_known.iter_mut().zip(other.inputs_known) {
        *known |= also;
    }
    answer.imported.extend(other.keys);
    answer.imported.extend(other.imported);
    answer.imported.sort();
    answer.imported.dedup();
}

/// A time as RFC 3339 has it; 0 for what is none.
fn nanoseconds(text: &str) -> u64 {
    let time = text.parse::<jiff::Timestamp>().ok();
    time.and_then(|time| u64::try_from(time.as_nanosecond()).ok())
        .unwrap_or_default()
}
