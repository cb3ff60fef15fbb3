use std::borrow::Cow;

use cooper_core::filters::Fields;
use cooper_core::model::{DeviceInfo, Failure, FailureKind, JobId};
use cooper_proto::control::control_server::Control;
use cooper_proto::control::{
    BuildHistoryEvent, BuildHistoryRequest, BytesMessage, DiskUsageRequest, DiskUsageResponse,
    InfoRequest, InfoResponse, ListWorkersRequest, ListWorkersResponse, PruneRequest, SolveRequest,
    SolveResponse, StatusRequest, StatusResponse, UpdateBuildHistoryRequest,
    UpdateBuildHistoryResponse, UsageRecord,
};
use cooper_proto::oci;
use cooper_proto::types::{BuildkitVersion, CdiDevice, WorkerRecord};
use futures::StreamExt;
use futures::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::{decode, history_event, status_from_failure, tunnel, usage};
use crate::Engine;
use crate::engine::Parts;
use crate::progress::{clip, timestamp};

/// A stream of answers.
type Answers<T> = BoxStream<'static, Result<T, Status>>;

/// `moby.buildkit.v1.Control`.
#[derive(Debug)]
pub(super) struct ControlService {
    engine: Engine,
}

impl ControlService {
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

/// This engine's worker in the words of the wire.
pub(crate) fn worker_record(parts: &Parts) -> WorkerRecord {
    let info = parts.worker.info();
    WorkerRecord {
        id: info.id,
        labels: info.labels,
        platforms: info.platforms,
        gc_policy: parts.storage.rules().iter().map(usage::policy).collect(),
        buildkit_version: Some(version(parts)),
        cdi_devices: info.devices.into_iter().map(device_record).collect(),
    }
}

/// The workers as frontends in containers are told of them: BuildKit's Go client's record as JSON.
///
/// # Errors
/// Never for the platforms that there are.
pub(crate) fn worker_info_json(parts: &Parts) -> Result<String, Failure> {
    let info = parts.worker.info();
    let platforms: Vec<_> = info
        .platforms
        .into_iter()
        .map(oci::Platform::from)
        .collect();
    let version = version(parts);
    let workers = serde_json::json!([{
        "id": info.id,
        "labels": info.labels,
        "platforms": platforms,
        "gcPolicy": null,
        "buildkitVersion": {
            "package": version.package,
            "version": version.version,
            "revision": version.revision,
        },
        "cdiDevices": null,
    }]);
    serde_json::to_string(&workers)
        .map_err(|error| Failure::new(FailureKind::Internal, error.to_string()))
}

fn device_record(device: DeviceInfo) -> CdiDevice {
    CdiDevice {
        name: device.name,
        auto_allow: device.auto_allow,
        annotations: device.annotations,
        on_demand: false,
    }
}

/// What filters of workers may name.
struct WorkerFields<'a>(&'a WorkerRecord);

impl Fields for WorkerFields<'_> {
    fn field(&self, path: &[String]) -> Option<Cow<'_, str>> {
        match path.first()?.as_str() {
            "id" => Some(self.0.id.as_str().into()),
            "labels" => {
                let label = self.0.labels.get(&path[1..].join("."));
                label.map(|value| value.as_str().into())
            }
            _ => None,
        }
    }
}

/// The version of BuildKit whose protocol and features this engine has, and from which buildx decides what to ask
/// for (drop-in sheet). Our own version stands after the plus, as semantic versioning has it for builds.
const PROTOCOL_VERSION: &str = "v0.31.0";

/// The version of the Dockerfile frontend whose language the built-in frontend reads.
pub(crate) const DOCKERFILE_VERSION: &str = "1.26.0";

fn version(parts: &Parts) -> BuildkitVersion {
    BuildkitVersion {
        package: "cooper".to_owned(),
        version: format!("{PROTOCOL_VERSION}+cooper.{}", parts.version),
        dockerfile_version: DOCKERFILE_VERSION.to_owned(),
        ..BuildkitVersion::default()
    }
}

/// An answer with this side's time, by which a client corrects the times in it for its own clock.
fn timed<T>(parts: &Parts, answers: T) -> Response<T> {
    let mut response = Response::new(answers);
    let now = timestamp(parts.clock.now_ns()).to_string();
    if let Ok(now) = now.parse() {
        response
            .metadata_mut()
            .insert("buildkit-current-timestamp", now);
    }
    response
}

#[async_trait]
impl Control for ControlService {
    type PruneStream = Answers<UsageRecord>;
    type StatusStream = Answers<StatusResponse>;
    type SessionStream = Answers<BytesMessage>;
    type ListenBuildHistoryStream = Answers<BuildHistoryEvent>;

    async fn solve(
        &self,
        request: Request<SolveRequest>,
    ) -> Result<Response<SolveResponse>, Status> {
        let spec = decode::solve(request.into_inner()).map_err(|f| status_from_failure(&f))?;
        // Dropping this handler drops the outcome's future, which cancels the build.
        let outcome = self.engine.solve(spec).await;
        let exporter_response = outcome.result.map_err(|f| status_from_failure(&f))?;
        Ok(Response::new(SolveResponse { exporter_response }))
    }

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<Self::StatusStream>, Status> {
        let job = JobId(request.into_inner().r#ref);
        let progress = self
            .engine
            .progress(&job)
            .await
            .map_err(|f| status_from_failure(&f))?;
        // Who asks for the log of a build that is over wants all of it.
        let progress = match self.engine.parts().jobs.contains(&job) {
            true => clip(progress, self.engine.parts().limits.output),
            false => progress,
        };
        let answers = progress.map(|news| news.map_err(|failure| status_from_failure(&failure)));
        Ok(timed(self.engine.parts(), answers.boxed()))
    }

    async fn session(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        tunnel::open(self.engine.parts(), request)
            .map(Response::new)
            .map_err(|failure| status_from_failure(&failure))
    }

    async fn list_workers(
        &self,
        request: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        let filters = usage::filters(&request.into_inner().filter)
            .map_err(|failure| status_from_failure(&failure))?;
        let record = worker_record(self.engine.parts());
        let takes = filters.take(&WorkerFields(&record));
        Ok(Response::new(ListWorkersResponse {
            record: Some(record).filter(|_| takes).into_iter().collect(),
        }))
    }

    async fn info(&self, _: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        Ok(Response::new(InfoResponse {
            buildkit_version: Some(version(self.engine.parts())),
        }))
    }

    async fn disk_usage(
        &self,
        request: Request<DiskUsageRequest>,
    ) -> Result<Response<DiskUsageResponse>, Status> {
        let record = usage::list(self.engine.parts(), &request.into_inner())
            .await
            .map_err(|failure| status_from_failure(&failure))?;
        Ok(Response::new(DiskUsageResponse { record }))
    }

    async fn prune(
        &self,
        request: Request<PruneRequest>,
    ) -> Result<Response<Self::PruneStream>, Status> {
        let removed = usage::prune(self.engine.parts(), request.into_inner())
            .await
            .map_err(|failure| status_from_failure(&failure))?;
        let answers = futures::stream::iter(removed.into_iter().map(Ok));
        Ok(Response::new(answers.boxed()))
    }

    async fn listen_build_history(
        &self,
        request: Request<BuildHistoryRequest>,
    ) -> Result<Response<Self::ListenBuildHistoryStream>, Status> {
        let events = history_event::listen(self.engine.parts(), &request.into_inner())
            .map_err(|failure| status_from_failure(&failure))?;
        Ok(timed(self.engine.parts(), events.map(Ok).boxed()))
    }

    async fn update_build_history(
        &self,
        request: Request<UpdateBuildHistoryRequest>,
    ) -> Result<Response<UpdateBuildHistoryResponse>, Status> {
        history_event::update(&self.engine.parts().history, request.into_inner())
            .await
            .map_err(|failure| status_from_failure(&failure))?;
        Ok(Response::new(UpdateBuildHistoryResponse {}))
    }
}
