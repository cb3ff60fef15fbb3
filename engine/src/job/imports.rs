//! Reads the caches that a build imports: those of its request beside the build, those that frontends name when they do.

use std::collections::BTreeMap;
use std::sync::Arc;

use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::{CacheImportRequest, CacheImporter, ImportedCache};
use cooper_core::remotecache::{Imported, IndexLimits};
use cooper_proto::Digest;
use futures::future::join_all;

use super::credentials::CREDENTIALS;
use super::{CacheSpec, Job};
use crate::driver::{ImportSource, Imports, ImportsReady, ReadCaches, contain};
use crate::engine::Parts;
use crate::progress::VertexScope;

/// How many caches frontends may name in one build.
const NAMED: usize = 64;

/// The option by which frontends are told of caches to import, as JSON.
pub(super) const OPTION: &str = "cache-imports";

/// The same for caches in registries, by their names.
const OLD_OPTION: &str = "cache-from";

/// The caches that frontends named beside those of the request, as far as they were read.
#[derive(Debug, Default)]
pub(crate) struct NamedImports(tokio::sync::Mutex<BTreeMap<CacheSpec, ReadCaches>>);

/// The caches that a frontend's options name (parity sheet A10).
///
/// # Errors
/// `InvalidInput` for what is no list of caches.
pub(crate) fn imports_of_options(
    options: &BTreeMap<String, String>,
) -> Result<Vec<CacheSpec>, Failure> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Entry {
        r#type: String,
        #[serde(default)]
        attrs: Option<BTreeMap<String, String>>,
    }
    let option = |name: &str| options.get(name).filter(|text| !text.is_empty());
    let mut named = Vec::new();
    if let Some(text) = option(OPTION) {
        let entries: Vec<Entry> = serde_json::from_str(text).map_err(|error| {
            // Not the text: it may hold what opens a cache's place.
            let message = format!("failed to unmarshal {OPTION}: {error}");
            Failure::new(FailureKind::InvalidInput, message)
        })?;
        named.extend(entries.into_iter().map(|entry| CacheSpec {
            kind: entry.r#type,
            attributes: entry.attrs.unwrap_or_default(),
        }));
    }
    let old = option(OLD_OPTION)
        .into_iter()
        .flat_map(|text| text.split(','));
    named.extend(old.map(|reference| CacheSpec {
        kind: "registry".to_owned(),
        attributes: [("ref".to_owned(), reference.to_owned())].into(),
    }));
    Ok(named)
}

/// A build's caches and further ones, which are read first unless they were. `None` when there are no further ones.
///
/// # Errors
/// `InvalidInput` beyond [`NAMED`].
///
/// # Cancel
/// Dropping the future stops reading; who asks next begins anew.
pub(crate) async fn widen_imports(
    parts: &Parts,
    job: &Job,
    base: Option<&Imports>,
    named: &[CacheSpec],
) -> Result<Option<Imports>, Failure> {
    let mut further: Vec<CacheSpec> = named.to_vec();
    further.retain(|spec| !job.cache_imports.contains(spec));
    further.sort();
    further.dedup();
    if further.is_empty() {
        return Ok(None);
    }
    let mut read_before = job.named_imports.0.lock().await;
    let mut caches = Vec::with_capacity(further.len());
    for spec in &further {
        if !read_before.contains_key(spec) {
            if read_before.len() >= NAMED {
                return Err(Failure::new(
                    FailureKind::InvalidInput,
                    format!(
                        "frontends named {NAMED} caches to import, which is all that one build may"
                    ),
                ));
            }
            let index = job.cache_imports.len() + read_before.len();
            let found = read(parts, job, index, spec).await;
            read_before.insert(spec.clone(), Arc::new(found));
        }
        caches.extend(read_before.get(spec).cloned());
    }
    let mut all: Vec<CacheSpec> = job.cache_imports.iter().cloned().chain(further).collect();
    all.sort();
    all.dedup();
    Ok(Some(Imports::and(base, caches, scope(&all))))
}

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
    // By what a place is opened says nothing of which place it is, and no secret goes into a digest.
    let places = specs.iter().map(|spec| {
        let mut place = spec.clone();
        place
            .attributes
            .retain(|key, _| !CREDENTIALS.contains(&key.as_str()));
        place
    });
    let places: std::collections::BTreeSet<CacheSpec> = places.collect();
    Digest::sha256_of(format!("{places:?}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    // Invariant 8 of ARCHITECTURE.md.
    #[test]
    fn no_credential_enters_the_name_of_a_scope() {
        let spec = |bucket: &str, secret: &str| {
            let bucket = ("bucket".to_owned(), bucket.to_owned());
            let keys = CREDENTIALS.map(|key| (key.to_owned(), secret.to_owned()));
            CacheSpec {
                kind: "s3".to_owned(),
                attributes: keys.into_iter().chain([bucket]).collect(),
            }
        };
        let one = scope(&[spec("a", "one")]);
        assert_eq!(one, scope(&[spec("a", "other")]));
        assert_ne!(one, scope(&[spec("b", "one")]));
    }
}
