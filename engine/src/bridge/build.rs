use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::graph::Graph;
use cooper_core::model::{Failure, Material, ResultId, SessionId, Warning};
use cooper_core::policy::Rules;
use cooper_core::ports::{
    Bridge, FileStat, FrontendRequest, FrontendResult, ImageAnswer, ImageQuery, ReadFileRequest,
    RefId, ResolvedImage, SourceMeta, SourceQuery,
};
use cooper_proto::pb;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::images::Images;
use super::policy::{self, GovernedImage};
use super::references::{Reference, References};
use super::sources;
use crate::attest::{Request, Scope};
use crate::driver::Imports;
use crate::engine::Parts;
use crate::job::{CacheSpec, Job, ask_frontend, widen_imports};

/// The engine as one build's frontends see it.
#[derive(Debug, Clone)]
pub(crate) struct BuildBridge {
    parts: Arc<Parts>,
    job: Arc<Job>,
    /// The imported caches that may serve what is asked here.
    imports: Option<Imports>,
    references: Arc<References>,
    images: Arc<Images>,
    /// Where what is asked for here is noted.
    scope: Arc<Scope>,
    /// States that failed steps were left in.
    failed: Arc<Mutex<BTreeSet<ResultId>>>,
}

impl BuildBridge {
    /// The bridge of a build that has no results yet, of which the client asked this.
    pub(crate) fn new(
        parts: Arc<Parts>,
        job: Arc<Job>,
        imports: Option<Imports>,
        asked: Request,
    ) -> Self {
        Self {
            parts,
            job,
            imports,
            references: Arc::default(),
            images: Arc::default(),
            failed: Arc::default(),
            scope: Arc::new(Scope::of_build(asked)),
        }
    }

    /// The same build, served by further caches, which are read now unless they were before. Results are named in one
    /// place whoever asks.
    ///
    /// # Errors
    /// `InvalidInput` for more caches than a build may name. One that cannot be read is shown as failed and not asked.
    ///
    /// # Cancel
    /// Dropping the future stops reading.
    pub(crate) async fn importing(
        self: &Arc<Self>,
        named: &[CacheSpec],
    ) -> Result<Arc<Self>, Failure> {
        let base = self.imports.as_ref();
        let widened = widen_imports(&self.parts, &self.job, base, named).await?;
        Ok(match widened {
            Some(imports) => Arc::new(Self {
                imports: Some(imports),
                ..Self::clone(self)
            }),
            None => Arc::clone(self),
        })
    }

    /// The bridge to the same build for a frontend that is asked something.
    pub(crate) fn asking(&self, request: Request) -> Arc<Self> {
        Arc::new(self.within(self.scope.child(request)))
    }

    /// The bridge to the same build for what no frontend asks for.
    pub(crate) fn apart(&self) -> Arc<Self> {
        Arc::new(self.within(Arc::default()))
    }

    fn within(&self, scope: Arc<Scope>) -> Self {
        Self {
            scope,
            ..self.clone()
        }
    }

    /// Where what is asked for here is noted.
    pub(crate) fn scope(&self) -> &Arc<Scope> {
        &self.scope
    }

    /// What a named result is made by, if it was computed.
    pub(crate) fn computed(&self, id: &RefId) -> Option<Arc<Reference>> {
        let reference = self.references.get(id).ok()?;
        let is_empty = reference.graph.target.is_none();
        let is_there = is_empty || reference.result.get().is_some_and(Result::is_ok);
        is_there.then_some(reference)
    }

    /// The build that this is the bridge of, to keep.
    pub(crate) fn shared_job(&self) -> Arc<Job> {
        Arc::clone(&self.job)
    }

    /// The build that this is the bridge of.
    pub(crate) fn job(&self) -> &Job {
        &self.job
    }

    /// What the engine's modules share.
    pub(super) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The sessions that answer for the build.
    pub(crate) fn sessions(&self) -> Vec<SessionId> {
        self.job.sessions.clone()
    }

    /// Lets who is told of a failure look into the states that it names.
    pub(crate) fn show_states(&self, failure: &Failure) {
        if let Some(op) = &failure.op {
            let states = op.inputs.iter().chain(&op.mounts).flatten().cloned();
            self.failed.lock().extend(states);
        }
    }

    /// Computes a named result, or finds the state of a failed step by its id.
    pub(super) async fn state(&self, id: &str) -> Result<ResultId, Failure> {
        let state = ResultId(id.to_owned());
        if self.failed.lock().contains(&state) {
            return Ok(state);
        }
        self.result(&RefId(id.to_owned())).await
    }

    /// What a named result is made by.
    pub(crate) fn reference(&self, id: &RefId) -> Result<Arc<Reference>, Failure> {
        self.references.get(id)
    }

    /// Computes a named result. It stays whole until the build is closed.
    pub(crate) async fn result(&self, id: &RefId) -> Result<ResultId, Failure> {
        let reference = self.references.get(id)?;
        let Some(edge) = reference.graph.target.clone() else {
            return Ok(ResultId::scratch());
        };
        reference
            .result
            .get_or_init(|| {
                let graph = Arc::clone(&reference.graph);
                let imports = reference.imports.clone();
                self.parts.driver.want(&self.job.id, graph, edge, imports)
            })
            .await
            .clone()
    }

    /// Lists a folder of a named result, running what it needs first.
    pub(crate) async fn read_dir(
        &self,
        id: &RefId,
        path: &str,
        include_pattern: &str,
    ) -> Result<Vec<FileStat>, Failure> {
        let result = self.result(id).await?;
        self.parts
            .files
            .read_dir(&result, path, include_pattern, &self.job.sessions)
            .await
    }

    /// A definition as the rules about sources leave it and its graph, which the build may ask for.
    pub(super) async fn admit(
        &self,
        definition: pb::Definition,
        rules: &Rules,
    ) -> Result<(pb::Definition, Graph), Failure> {
        let definition = Box::pin(policy::govern(self, definition, rules)).await?;
        let graph = Graph::load(&definition, &self.parts.limits.graph)?;
        self.job
            .entitlements
            .check(&graph, self.parts.worker.as_ref())?;
        let uncached = uncached_mounts(&graph);
        if !uncached.is_empty() {
            self.parts.worker.forget_cache_mounts(uncached).await?;
        }
        Ok((definition, graph))
    }

    /// Adds a definition to the build under further rules about its sources, and names its result.
    pub(crate) async fn solve_under(
        &self,
        definition: pb::Definition,
        rules: &Rules,
    ) -> Result<RefId, Failure> {
        let (definition, graph) = self.admit(definition, rules).await?;
        let reference = Reference {
            definition,
            graph: Arc::new(graph),
            imports: self.imports.clone(),
            result: OnceCell::new(),
        };
        let limit = self.parts.limits.refs_per_build;
        let definition = reference.definition.clone();
        let id = self.references.add(reference, limit)?;
        self.scope.note_ref(&id);
        self.parts
            .requests
            .register(&self.job.id, &definition, &self.scope);
        Ok(id)
    }

    /// Finds an image under further rules about sources.
    pub(crate) async fn resolve_image_under(
        &self,
        query: ImageQuery,
        rules: &Rules,
    ) -> Result<ImageAnswer, Failure> {
        let reference = query.reference.clone();
        let query = match Box::pin(policy::govern_image(self, query, rules)).await? {
            GovernedImage::Image(query) => query,
            GovernedImage::Other(by) => return Ok(ImageAnswer::Replaced { reference, by }),
        };
        let (platform, local) = (query.platform.clone(), query.oci_layout_store.is_some());
        let image = self.look_up_image(query).await?;
        // What a frontend knows of may decide what it makes.
        self.scope.note_image(Material::Image {
            reference: image.reference.clone(),
            platform,
            digest: image.digest.clone(),
            local,
        });
        Ok(ImageAnswer::Image(image))
    }

    /// Finds an image, whatever the rules say.
    pub(super) async fn look_up_image(&self, query: ImageQuery) -> Result<ResolvedImage, Failure> {
        self.images.resolve(&self.parts, &self.job, query).await
    }

    /// Finds out what a source is, whatever the rules say.
    pub(super) async fn look_up_source(&self, query: SourceQuery) -> Result<SourceMeta, Failure> {
        sources::resolve(&self.parts, &self.job, query).await
    }
}

#[async_trait]
impl Bridge for BuildBridge {
    async fn solve(&self, definition: pb::Definition) -> Result<RefId, Failure> {
        self.solve_under(definition, &Rules::default()).await
    }

    async fn evaluate(&self, result: &RefId) -> Result<(), Failure> {
        self.result(result).await.map(drop)
    }
    async fn read_file(
        &self,
        result: &RefId,
        path: &str,
        range: Option<Range<u64>>,
    ) -> Result<Bytes, Failure> {
        let result = self.result(result).await?;
        let request = ReadFileRequest {
            result,
            path: path.to_owned(),
            range,
            sessions: self.job.sessions.clone(),
        };
        self.parts.files.read_file(request).await
    }

    async fn stat_file(&self, result: &RefId, path: &str) -> Result<FileStat, Failure> {
        let result = self.result(result).await?;
        self.parts
            .files
            .stat_file(&result, path, &self.job.sessions)
            .await
    }

    async fn resolve_image(&self, query: ImageQuery) -> Result<ImageAnswer, Failure> {
        self.resolve_image_under(query, &Rules::default()).await
    }

    async fn resolve_source(&self, query: SourceQuery) -> Result<SourceMeta, Failure> {
        let (source, platform) = (query.source.clone(), query.platform.clone());
        let governed = policy::govern_source(self, source, platform, &Rules::default()).await?;
        let source = governed.unwrap_or_else(|| query.source.clone());
        self.look_up_source(SourceQuery { source, ..query }).await
    }

    async fn ask(
        self: Arc<Self>,
        frontend: &str,
        request: FrontendRequest,
    ) -> Result<FrontendResult, Failure> {
        let parts = Arc::clone(&self.parts);
        ask_frontend(&parts, &self, frontend, request).await
    }

    async fn warn(&self, warning: Warning) {
        self.job.log.warn(None, &warning);
    }

    fn platforms(&self) -> Vec<pb::Platform> {
        self.parts.worker.info().platforms
    }
}

/// Ids of the cache mounts of steps that are to use no cache: they start empty then, as BuildKit has it.
fn uncached_mounts(graph: &Graph) -> Vec<String> {
    let mut ids = std::collections::BTreeSet::new();
    for vertex in graph.vertices.values().filter(|vertex| vertex.ignore_cache) {
        if let Some(pb::op::Op::Exec(exec)) = &vertex.op.op {
            let caches = exec
                .mounts
                .iter()
                .filter_map(|mount| mount.cache_opt.as_ref());
            ids.extend(caches.map(|cache| cache.id.clone()));
        }
    }
    ids.into_iter().filter(|id| !id.is_empty()).collect()
}
