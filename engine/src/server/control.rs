use cooper_core::model::{Failure, JobId};
use cooper_proto::control::control_server::Control;
use cooper_proto::control::{
    BuildHistoryEvent, BuildHistoryRequest, BytesMessage, DiskUsageRequest, DiskUsageResponse,
    InfoRequest, InfoResponse, ListWorkersRequest, ListWorkersResponse, PruneRequest, SolveRequest,
    SolveResponse, StatusRequest, StatusResponse, UpdateBuildHistoryRequest,
    UpdateBuildHistoryResponse, UsageRecord,
};
use cooper_proto::types::{BuildkitVersion, WorkerRecord};
use futures::StreamExt;
use futures::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::{decode, history_event, status_from_failure, tunnel};
use crate::Engine;
use crate::engine::Parts;

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
pub(super) fn worker_record(parts: &Parts) -> WorkerRecord {
    let info = parts.worker.info();
    WorkerRecord {
        id: info.id,
        labels: info.labels,
        platforms: info.platforms,
        buildkit_version: Some(version(parts)),
        ..WorkerRecord::default()
    }
}

fn version(parts: &Parts) -> BuildkitVersion {
    BuildkitVersion {
        package: "cooper".to_owned(),
        version: parts.version.clone(),
        ..BuildkitVersion::default()
    }
}

fn unbuilt(what: &str) -> Status {
    status_from_failure(&Failure::unsupported(what))
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
        let answers = progress.map(|news| news.map_err(|failure| status_from_failure(&failure)));
        Ok(Response::new(answers.boxed()))
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
        if !request.into_inner().filter.is_empty() {
            return Err(unbuilt("a filter of workers"));
        }
        Ok(Response::new(ListWorkersResponse {
            record: vec![worker_record(self.engine.parts())],
        }))
    }

    async fn info(&self, _: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        Ok(Response::new(InfoResponse {
            buildkit_version: Some(version(self.engine.parts())),
        }))
    }

    async fn disk_usage(
        &self,
        _: Request<DiskUsageRequest>,
    ) -> Result<Response<DiskUsageResponse>, Status> {
        Err(unbuilt("Control.DiskUsage"))
    }

    async fn prune(&self, _: Request<PruneRequest>) -> Result<Response<Self::PruneStream>, Status> {
        Err(unbuilt("Control.Prune"))
    }

    async fn listen_build_history(
        &self,
        request: Request<BuildHistoryRequest>,
    ) -> Result<Response<Self::ListenBuildHistoryStream>, Status> {
        let request = request.into_inner();
        if !request.filter.is_empty() {
            return Err(unbuilt("a filter of builds"));
        }
        let events = history_event::listen(&self.engine.parts().history, &request);
        Ok(Response::new(events.map(Ok).boxed()))
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
