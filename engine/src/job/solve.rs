use std::collections::BTreeMap;
use std::sync::Arc;

use cooper_core::attest::Wanted;
use cooper_core::model::{Attestation, Failure, FailureKind};
use cooper_core::ports::{
    Bridge, ExportPart, ExportResponse, FrontendPart, FrontendRequest, FrontendResult, Session,
    Sessions, StatementSource,
};
use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::imports::{self, PendingImports};
use super::spec::FRONTEND_IMAGE;
use super::{
    Build, Entitlements, ExporterSpec, GatewayReturn, Job, Running, SolveOutcome, SolveSpec,
};
use crate::attest::{self, Attested, Request};
use crate::bridge::{BuildBridge, Reference};
use crate::driver::{Imports, Permits, Seat, contain};
use crate::engine::Parts;
use crate::export::{self, CacheExports, Export, Exported, Gathered, Results};
use crate::frontend_image;
use crate::history::{Provenances, Record, code_number};
use crate::progress::JobLog;

type Statements = BTreeMap<String, Vec<Attestation<StatementSource>>>;

/// A client's own result, once it is there.
type Returned = oneshot::Receiver<Result<FrontendResult, Failure>>;

/// Checks a request and starts its build.
///
/// # Errors
/// When nothing of it could begin; there is no record of it then.
pub(crate) fn start(parts: &Arc<Parts>, mut spec: SolveSpec) -> Result<Running, Failure> {
    if parts.stopping.is_cancelled() {
        return Err(cancelled("the engine is shutting down"));
    }
    if spec.job.0.is_empty() {
        return Err(Failure::new(
            FailureKind::InvalidInput,
            "a build needs a name (the request's Ref)",
        ));
    }
    let is_own = |name: &str| parts.frontends.contains_key(name);
    spec.build = spec.build.by_own_frontend(is_own);
    let attest = Wanted::read(&spec.options())?;
    let entitlements = Entitlements::grant(&spec.entitlements, &parts.allowed_entitlements)?;
    let exports = choose_exporters(parts, &with_epoch(&spec))?;
    let cache_exports = CacheExports::choose(parts, &spec.cache_exports)?;
    let of_options = imports::imports_of_options(&spec.options())?;
    spec.cache_imports.extend(of_options);
    let (imports, pending) = imports::prepare(&spec.cache_imports);
    let _one_at_a_time = parts.jobs.starting();
    if parts.jobs.is_closed() {
        let words = "the daemon is stopping and takes no new builds";
        let refused = Failure::new(FailureKind::Infrastructure, words);
        return Err(refused.with_hint("try again when it is back"));
    }
    if parts.jobs.contains(&spec.job) {
        return Err(Failure::new(
            FailureKind::InvalidInput,
            format!("a build of the name {} is running", spec.job),
        ));
    }
    let log = JobLog::create(parts.history.log_path(&spec.job), parts.clock.clone())?;
    let (gateway, returned) = match &spec.build {
        Build::Gateway { request } => {
            let (place, returned) = GatewayReturn::new(request.clone());
            (Some(Arc::new(place)), Some(returned))
        }
        Build::Definition(_) | Build::Frontend { .. } => (None, None),
    };
    let job = Arc::new(Job {
        id: spec.job.clone(),
        log: Arc::clone(&log),
        sessions: spec.sessions.clone(),
        cache_imports: spec.cache_imports.clone(),
        named_imports: imports::NamedImports::default(),
        source_rules: spec.source_rules.clone(),
        policy_session: spec.policy_session.clone(),
        entitlements,
        cancel: parts.stopping.child_token(),
        gateway,
    });
    let bridge = BuildBridge::new(
        Arc::clone(parts),
        Arc::clone(&job),
        imports.clone(),
        spec.asked(),
    );
    let bridge = Arc::new(bridge);
    // Before anybody can find the build: a client that waits for it asks as soon as it is there.
    parts.driver.open(
        job.id.clone(),
        Seat {
            log: Arc::clone(&log),
            sessions: job.sessions.clone(),
            steps: Permits::new(fewest(spec.steps, parts.limits.steps_per_build)),
            imports: imports.into_iter().collect(),
            nest: Arc::<BuildBridge>::clone(&bridge),
        },
    );
    parts.jobs.insert(&job, Arc::clone(&bridge));
    let cancel = job.cancel.clone();
    let id = job.id.clone();
    let run = Run {
        parts: Arc::clone(parts),
        job,
        bridge,
        spec,
        exports,
        cache_exports,
        attest,
        provenance: Mutex::default(),
    };
    Ok(Running {
        id,
        task: parts.tasks.spawn("a build", run.finish(returned, pending)),
        _guard: cancel.clone().drop_guard(),
        cancel,
        log,
    })
}

struct Run {
    parts: Arc<Parts>,
    job: Arc<Job>,
    bridge: Arc<BuildBridge>,
    spec: SolveSpec,
    exports: Vec<Export>,
    cache_exports: CacheExports,
    attest: Wanted,
    /// The provenance that the build's record gets.
    provenance: Mutex<Provenances>,
}

impl Run {
    async fn finish(
        self,
        returned: Option<Returned>,
        pending: Option<PendingImports>,
    ) -> SolveOutcome {
        let begun_ns = self.parts.clock.now_ns();
        let mut record = Record::begin(&self.spec, begun_ns);
        self.parts.history.begin(record.clone());
        let build = async {
            let reading = async {
                if let Some(pending) = pending {
                    pending.read(&self.parts, &self.job).await;
                }
                // The build decides when it is over.
                std::future::pending().await
            };
            tokio::select! {
                result = Box::pin(self.build(returned, begun_ns)) => result,
                result = reading => result,
            }
        };
        let result = contain("a build", build).await.and_then(|result| result);
        // States of the build are not there to look into once it is over.
        let result = result.map_err(|failure| Failure {
            op: None,
            ..failure
        });
        // What the build began is gone before anybody is told that it is over.
        if let Some(frontend) = &self.job.gateway {
            frontend.containers.release_all().await;
        }
        self.parts.driver.close(&self.job.id).await;
        self.job.log.finish();
        record.blobs.provenance = std::mem::take(&mut *self.provenance.lock());
        let failure = result.as_ref().err();
        let each = result.as_ref().map(|exported| exported.each.clone());
        let history = &self.parts.history;
        history
            .keep_ending(&mut record, failure, &each.unwrap_or_default())
            .await;
        let outcome = SolveOutcome {
            result: result.map(|exported| exported.response),
            summary: self.job.log.summary(),
        };
        record.end(&outcome, self.parts.clock.now_ns());
        self.parts.history.end(record).await;
        let ending = outcome.result.as_ref().err();
        let code = ending.map_or(0, |failure| code_number(&failure.kind));
        self.parts.jobs.remove(&self.job.id, code);
        self.parts.requests.forget(&self.job.id);
        self.parts.worker.end_build(&self.job.id).await;
        self.seal_later();
        self.parts.collect.notify_one();
        outcome
    }

    /// Nobody waits for what the history keeps beyond the record.
    fn seal_later(&self) {
        if self.spec.internal {
            return;
        }
        let (parts, id) = (Arc::clone(&self.parts), self.job.id.clone());
        let seal = async move {
            match parts.history.seal(&id).await {
                Err(failure) if failure.kind != FailureKind::NotFound => {
                    tracing::warn!(job = %id, %failure, "a build's progress is not kept as a blob");
                }
                _ => {}
            }
        };
        // Joined by the engine's end.
        let _sealed_on_its_own = self.parts.tasks.spawn("sealing a record", seal);
    }

    async fn build(&self, returned: Option<Returned>, begun_ns: u64) -> Result<Exported, Failure> {
        let made = async {
            let result = self.convert(returned).await?;
            let parts = self.evaluate(&result.parts).await?;
            let attested = self.attest(&result, begun_ns).await?;
            Ok((result, parts, attested))
        };
        let (result, parts, mut attested) =
            unless_cancelled(&self.job.cancel, Box::pin(made)).await?;
        let statements = std::mem::take(&mut attested.statements);
        let exported = self.export(result, parts, statements).await;
        // A build that could not export its results has them nonetheless.
        self.keep_provenance(&attested).await;
        attested.release(&self.parts).await;
        exported
    }

    async fn attest(&self, result: &FrontendResult, begun_ns: u64) -> Result<Attested, Failure> {
        let options = self.spec.options();
        let asked = attest::Asked {
            parts: &self.parts,
            job: &self.job,
            bridge: &self.bridge,
            wanted: &self.attest,
            options: &options,
            begun_ns,
        };
        Box::pin(attest::attest(&asked, result)).await
    }

    /// Keeps where the results came from for the build's record.
    async fn keep_provenance(&self, attested: &Attested) {
        if self.spec.internal {
            return;
        }
        let history = &self.parts.history;
        let kept = async {
            let told = attested.for_history().await?;
            history.keep_provenance(&self.job.id, told).await
        };
        match kept.await {
            Ok(kept) => *self.provenance.lock() = kept,
            Err(failure) => {
                tracing::warn!(job = %self.job.id, %failure, "a build's provenance is not kept");
            }
        }
    }

    async fn export(
        &self,
        result: FrontendResult,
        mut parts: Vec<ExportPart>,
        statements: Statements,
    ) -> Result<Exported, Failure> {
        let prepared = async {
            let references = result.parts.iter().map(|part| self.reference(part));
            let references = references.collect::<Result<Vec<_>, _>>()?;
            Ok((references, self.find_exporters(&result).await?))
        };
        let (references, found) = unless_cancelled(&self.job.cancel, Box::pin(prepared)).await?;
        let metadata = result.metadata;
        let mut response = ExportResponse::new();
        // A question to the frontend has no other answer than this.
        let asked = self.spec.options().contains_key("requestid");
        for (key, value) in &metadata {
            if asked || key.starts_with("frontend.") {
                response.insert(key.clone(), String::from_utf8_lossy(value).into_owned());
            }
        }
        if !asked {
            let options = self.spec.options();
            let requested = options.get("platform").map(String::as_str);
            export::tell_of_platforms(&self.parts, &self.job, requested, &parts, &metadata);
        }
        let gathered = self.gather(&mut parts, &references).await?;
        let finals: Vec<_> = parts
            .iter()
            .filter_map(|part| part.result.clone())
            .collect();
        let exports = async {
            let all: Vec<_> = self.exports.iter().chain(&found).collect();
            let results = Results {
                parts,
                metadata,
                attestations: statements,
            };
            let exported = export::run_all(&self.parts, &self.job, &all, results);
            let mut exported = Box::pin(exported).await?;
            response.append(&mut exported.response);
            if let Some(gathered) = &gathered {
                let caches = self.cache_exports.run_all(&self.job, gathered, &finals);
                response.extend(Box::pin(caches).await?);
            }
            if self.spec.session_exporter
                && let Some(session) = self.client().await?
            {
                session.finalize_export(&response).await?;
            }
            exported.response = response;
            Ok(exported)
        };
        let response = exports.await;
        if let Some(gathered) = gathered {
            gathered.release(&self.parts).await;
        }
        response
    }

    /// The client, if the build has a session of its own.
    async fn client(&self) -> Result<Option<Arc<dyn Session>>, Failure> {
        match self.job.sessions.first() {
            Some(id) => self.parts.sessions.session(id).await.map(Some),
            None => Ok(None),
        }
    }

    /// The exporters that the client wants beside those of its request, counted on from them.
    async fn find_exporters(&self, result: &FrontendResult) -> Result<Vec<Export>, Failure> {
        if !self.spec.session_exporter {
            return Ok(Vec::new());
        }
        let Some(session) = self.client().await? else {
            return Ok(Vec::new());
        };
        let refs: Vec<_> = result
            .parts
            .iter()
            .filter_map(|part| part.result.clone())
            .collect();
        let found = session.find_exporters(&result.metadata, &refs).await?;
        let specs: Vec<_> = self
            .spec
            .exporters
            .iter()
            .cloned()
            .chain(found.into_iter().map(|found| ExporterSpec {
                kind: found.kind,
                attributes: found.attributes,
            }))
            .collect();
        let mut all = choose_exporters(&self.parts, &specs)?;
        Ok(all.split_off(self.exports.len()))
    }

    /// What caches of the build are made of, when any is to be written.
    async fn gather(
        &self,
        parts: &mut [ExportPart],
        references: &[Option<Arc<Reference>>],
    ) -> Result<Option<Gathered>, Failure> {
        if !self.cache_exports.any() {
            return Ok(None);
        }
        let references = || references.iter().flatten();
        let all = references().filter_map(|it| it.edge()).collect();
        let imports = references().filter_map(|it| it.imports.clone());
        let mut imports: Vec<Imports> = imports.collect();
        imports.sort_by(|a, b| a.scope.cmp(&b.scope));
        imports.dedup_by(|a, b| a.scope == b.scope);
        let gathered = export::gather(&self.parts, &self.job, &imports, all).await?;
        if self.cache_exports.inline {
            for part in parts {
                part.inline_cache = Some(Arc::clone(&gathered.chains));
            }
        }
        Ok(Some(gathered))
    }

    async fn convert(&self, returned: Option<Returned>) -> Result<FrontendResult, Failure> {
        match &self.spec.build {
            Build::Definition(definition) => {
                let result = self.bridge.solve(definition.clone()).await?;
                Ok(FrontendResult {
                    parts: vec![FrontendPart {
                        platform: None,
                        result: Some(result),
                    }],
                    ..FrontendResult::default()
                })
            }
            Build::Frontend { name, request } => {
                ask_frontend(&self.parts, &self.bridge, name, request.clone()).await
            }
            Build::Gateway { .. } => match returned {
                Some(returned) => returned
                    .await
                    .unwrap_or_else(|_| Err(cancelled("the client went away"))),
                None => Err(cancelled("the client has no way to return its result")),
            },
        }
    }

    async fn evaluate(&self, parts: &[FrontendPart]) -> Result<Vec<ExportPart>, Failure> {
        futures::future::try_join_all(parts.iter().map(|part| async {
            let result = match &part.result {
                Some(reference) => Some(self.bridge.result(reference).await?),
                None => None,
            };
            Ok(ExportPart {
                platform: part.platform.clone(),
                result: result.filter(|result| !result.is_scratch()),
                inline_cache: None,
            })
        }))
        .await
    }

    /// What a part of the result is made by.
    fn reference(&self, part: &FrontendPart) -> Result<Option<Arc<Reference>>, Failure> {
        let reference = part.result.as_ref();
        let reference = reference.map(|reference| self.bridge.reference(reference));
        reference.transpose()
    }
}

/// Asks a frontend of this engine.
pub(crate) async fn ask_frontend(
    parts: &Arc<Parts>,
    bridge: &BuildBridge,
    name: &str,
    request: FrontendRequest,
) -> Result<FrontendResult, Failure> {
    let bridge = bridge.asking(Request::new(name, &request));
    if name == FRONTEND_IMAGE {
        return frontend_image::solve(parts, bridge, request).boxed().await;
    }
    let Some(frontend) = parts.frontends.get(name) else {
        let known: Vec<_> = parts.frontends.keys().map(String::as_str).collect();
        let known = known.join(", ");
        return Err(Failure::new(
            FailureKind::NotFound,
            format!("there is no frontend {name}"),
        )
        .with_hint(format!(
            "frontends of this engine: {known}, {FRONTEND_IMAGE}"
        )));
    };
    frontend.solve(bridge, request).await
}

/// The exporters of a request, told of the build argument by which builds say their epoch (parity sheet A4), unless
/// they are told of another.
fn with_epoch(spec: &SolveSpec) -> Vec<ExporterSpec> {
    let mut exporters = spec.exporters.clone();
    let options = spec.options();
    let said = options.get("build-arg:SOURCE_DATE_EPOCH");
    let said = said.filter(|text| text.is_empty() || text.parse::<i64>().is_ok());
    if let Some(epoch) = said {
        for exporter in &mut exporters {
            let attribute = exporter.attributes.entry("source-date-epoch".to_owned());
            attribute.or_insert_with(|| epoch.clone());
        }
    }
    exporters
}

fn choose_exporters(parts: &Parts, specs: &[ExporterSpec]) -> Result<Vec<Export>, Failure> {
    if specs.len() > parts.limits.exporters {
        return Err(Failure::new(
            FailureKind::InvalidInput,
            format!(
                "{} exporters in one build; at most {} are allowed",
                specs.len(),
                parts.limits.exporters
            ),
        ));
    }
    specs
        .iter()
        .zip(0..)
        .map(|(spec, index)| Export::choose(parts, spec, index))
        .collect()
}

fn fewest<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

async fn unless_cancelled<T>(
    cancel: &CancellationToken,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        result = work => result,
        () = cancel.cancelled() => Err(cancelled("the build was cancelled")),
    }
}

fn cancelled(words: &str) -> Failure {
    Failure::new(FailureKind::Cancelled, words)
}
