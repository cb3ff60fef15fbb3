use async_trait::async_trait;
use cooper_core::model::{Failure, FailureKind, JobId, Material, Pin, ResultId};
use cooper_core::ports::{
    Cancelled, ContentKeyRequest, Events, OpOutcome, OpRequest, SourceKey, SourceKeyRequest,
    Worker, WorkerInfo,
};
use cooper_proto::{Digest, pb};

use super::LocalWorker;
use super::run::{Scheme, blocking};
use crate::checksum::ChecksumError;
use crate::snapshot::SnapshotError;
use crate::source::{blob_material, git_material, http_material, image_material};

/// Prefix of the labels that clients of BuildKit look at (parity sheet C7; the typo is theirs).
const LABEL: &str = "org.mobyproject.buildkit.worker.";

#[async_trait]
impl Worker for LocalWorker {
    fn info(&self) -> WorkerInfo {
        let labels = [
            ("executor", "cooper"),
            ("hostname", &self.hostname),
            ("snapshotter", self.snapshots.snapshotter().name()),
            ("network", self.networks.label()),
        ];
        let own = labels.map(|(name, value)| (format!("{LABEL}{name}"), value.to_owned()));
        WorkerInfo {
            id: self.id.clone(),
            // The owner's labels may say otherwise.
            labels: own.into_iter().chain(self.labels.clone()).collect(),
            platforms: self.platforms.clone(),
            devices: self.devices.list(),
        }
    }

    async fn source_key(
        &self,
        request: SourceKeyRequest,
        events: Events,
    ) -> Result<SourceKey, Failure> {
        match Scheme::of(&request.op)? {
            Scheme::Image => self.image_source.key(&request, &events).await,
            Scheme::Local => self.local_source.key(&request),
            Scheme::Git => self.git_source.key(&request, &events).await,
            Scheme::Http => self.http_source.key(&request, &events).await,
            Scheme::Blob => self.blob_source.key(&request),
        }
    }

    async fn content_key(
        &self,
        request: ContentKeyRequest,
        events: Events,
    ) -> Result<Digest, Failure> {
        self.image_source
            .ensure(&request.result, &request.sessions, &events)
            .await?;
        let sums = self.sums.clone();
        blocking(move || {
            let found = sums.with(&request.result, |sums| sums.selectors(&request.selectors));
            found.map_err(|error| match error {
                // BuildKit's words, which its users' scripts look for. Of nothing at all it speaks as of a file system.
                ChecksumError::NotFound { path } if request.result.is_scratch() => Failure::new(
                    FailureKind::MissingPath,
                    format!(
                        "failed to compute cache key: failed to calculate checksum of ref {}: {path}: no such file or directory",
                        request.result
                    ),
                ),
                ChecksumError::NotFound { path } => Failure::new(
                    FailureKind::MissingPath,
                    format!(
                        "failed to compute cache key: failed to calculate checksum of ref {}: {path:?}: not found",
                        request.result
                    ),
                ),
                other => Failure::from(other),
            })
        })
        .await
    }

    fn material(&self, op: &pb::Op, pin: &Pin) -> Option<Material> {
        match Scheme::of(op).ok()? {
            Scheme::Image => image_material(op, pin),
            Scheme::Git => git_material(op, pin),
            Scheme::Http => http_material(op, pin),
            Scheme::Blob => blob_material(op, pin),
            Scheme::Local => {
                let Some(pb::op::Op::Source(source)) = &op.op else {
                    return None;
                };
                let name = source.identifier.strip_prefix("local://")?;
                Some(Material::Local {
                    name: name.to_owned(),
                })
            }
        }
    }

    async fn contents(&self, request: &ContentKeyRequest, limit: usize) -> Vec<(String, Digest)> {
        let (sums, request) = (self.sums.clone(), request.clone());
        let listed = blocking(move || {
            let listed = sums.with(&request.result, |sums| {
                Ok(sums.listed(&request.selectors, limit))
            });
            listed.map_err(Failure::from)
        });
        // Who asks can do without.
        listed.await.unwrap_or_default()
    }

    async fn run(&self, request: OpRequest, events: Events, cancelled: Cancelled) -> OpOutcome {
        self.perform(request, events, cancelled).await
    }

    async fn forget_cache_mounts(&self, ids: Vec<String>) -> Result<(), Failure> {
        let exec = self.exec.clone();
        blocking(move || ids.iter().try_for_each(|id| exec.forget_cache_mounts(id))).await
    }

    async fn retain(&self, result: &ResultId) -> Result<bool, Failure> {
        if result.is_scratch() {
            return Ok(true);
        }
        let pin = self.snapshots.meta().pins().hold(result);
        let (snapshots, wanted) = (self.snapshots.clone(), result.clone());
        let lost = blocking(move || snapshots.lost_layers(&wanted).map_err(unknown)).await?;
        let Some(lost) = lost else {
            return Ok(false);
        };
        if !lost.is_empty() {
            // Nothing that is pinned is forgotten.
            drop(pin);
            let snapshots = self.snapshots.clone();
            blocking(move || snapshots.forget_lost(lost).map_err(unknown)).await?;
            return Ok(false);
        }
        self.snapshots.meta().pins().pin(pin.result());
        self.uses.taken(pin.result());
        Ok(true)
    }

    async fn end_build(&self, build: &JobId) {
        self.http_source.end_build(build);
        self.git_source.end_build(build);
    }

    async fn release(&self, results: Vec<ResultId>) {
        for result in results.iter().filter(|result| !result.is_scratch()) {
            self.uses.given_back(result);
            self.snapshots.meta().pins().unpin(result);
        }
    }
}

fn unknown(error: SnapshotError) -> Failure {
    Failure::new(FailureKind::Infrastructure, error.to_string())
}
