use std::sync::Arc;

use cooper_core::graph::CAPABILITIES;
use cooper_core::model::{Failure, FailureKind, JobId};
use cooper_core::policy::Rules;
use cooper_core::ports::{Bridge, FrontendPart, FrontendRequest, FrontendResult, RefId};
use cooper_proto::apicaps::ApiCap;
use cooper_proto::frontend::llb_bridge_server::LlbBridge;
use cooper_proto::frontend::{
    EvaluateRequest, EvaluateResponse, ExecMessage, InputsRequest, InputsResponse,
    NewContainerRequest, NewContainerResponse, PingRequest, PongResponse, ReadDirRequest,
    ReadDirResponse, ReadFileRequest, ReadFileResponse, ReleaseContainerRequest,
    ReleaseContainerResponse, ResolveImageConfigRequest, ResolveImageConfigResponse,
    ResolveSourceMetaRequest, ResolveSourceMetaResponse, ReturnRequest, ReturnResponse,
    SolveRequest, SolveResponse, StatFileRequest, StatFileResponse, WarnRequest, WarnResponse,
};
use futures::stream::BoxStream;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status, Streaming, async_trait};

use super::{convert, exec};
use crate::Engine;
use crate::bridge::BuildBridge;
use crate::bridge::source_meta;
use crate::engine::Parts;
use crate::job::{CacheSpec, GatewayReturn, Open, ask_frontend, imports_of_options};
use crate::server::control::worker_record;
use crate::server::status::{failure_from_rpc, refusal, status_from_failure};

/// The key by which a call on the shared socket says which build it belongs to.
const BUILD_ID: &str = "buildkit-controlapi-buildid";

/// What frontends may ask of this engine (parity sheet E).
const FRONTEND_CAPABILITIES: &[&str] = &[
    "solve.base",
    "solve.inlinereturn",
    "resolveimage",
    "resolveimage.resolvemode",
    "readfile",
    "return",
    "returnmap",
    "readdir",
    "statfile",
    "importcaches",
    "proto.refarray",
    "reference.output",
    "frontend.inputs",
    "gateway.solve.metadata",
    "gateway.exec",
    "gateway.exec.extrahosts",
    "gateway.exec.secretenv",
    "gateway.exec.signals",
    "gateway.exec.filesystem",
    "frontend.caps",
    "gateway.solve.evaluate",
    "gateway.evaluate",
    "gateway.warnings",
    "reference.attestations",
    "source.metaresolver",
    "source.metaresolver.image.attestations",
    "source.metaresolver.http.checksumrequest",
];

/// `moby.buildkit.v1.frontend.LLBBridge` for clients that are their own frontends.
#[derive(Debug)]
pub(crate) struct GatewayService {
    parts: Arc<Parts>,
    /// Set where all calls are of one frontend.
    only: Option<(Arc<BuildBridge>, Arc<GatewayReturn>)>,
}

type Reply<T> = Result<Response<T>, Status>;

impl GatewayService {
    /// The service of a socket that many builds share; each call says which it belongs to.
    pub(in crate::server) fn new(engine: &Engine) -> Self {
        Self {
            parts: Arc::clone(engine.parts()),
            only: None,
        }
    }

    /// The service of one frontend alone.
    pub(in crate::server) fn of_one(
        parts: &Arc<Parts>,
        bridge: &Arc<BuildBridge>,
        frontend: &Arc<GatewayReturn>,
    ) -> Self {
        Self {
            parts: Arc::clone(parts),
            only: Some((Arc::clone(bridge), Arc::clone(frontend))),
        }
    }

    /// The build that a call belongs to, which may be about to open.
    async fn build(&self, metadata: &MetadataMap) -> Result<Open, Status> {
        if let Some((bridge, _)) = &self.only {
            return Ok((bridge.shared_job(), Arc::clone(bridge)));
        }
        let id = metadata
            .get(BUILD_ID)
            .and_then(|value| value.to_str().ok())
            .ok_or_else(|| Status::invalid_argument("no buildid found in context"))?;
        let parts = &self.parts;
        let open = parts
            .jobs
            .wait_for(&JobId(id.to_owned()), parts.limits.status_wait)
            .await;
        match open {
            Some(open) if open.0.gateway.is_some() => Ok(open),
            _ => Err(refusal(Code::NotFound, &format!("no such job {id}"))),
        }
    }

    /// What the frontend that calls has of its own.
    async fn frontend(
        &self,
        metadata: &MetadataMap,
    ) -> Result<(Arc<GatewayReturn>, Arc<BuildBridge>), Status> {
        if let Some((bridge, frontend)) = &self.only {
            return Ok((Arc::clone(frontend), Arc::clone(bridge)));
        }
        let (job, bridge) = self.build(metadata).await?;
        let frontend = job.gateway.clone();
        let frontend = frontend.ok_or_else(|| Status::not_found("no such job"))?;
        Ok((frontend, bridge))
    }

    async fn solved(&self, open: &Open, request: &SolveRequest) -> Result<FrontendResult, Failure> {
        let (job, bridge) = open;
        let named = request.cache_imports.iter().map(|entry| CacheSpec {
            kind: entry.r#type.clone(),
            attributes: entry.attrs.clone(),
        });
        let mut named: Vec<CacheSpec> = named.collect();
        if !request.frontend.is_empty() {
            named.extend(imports_of_options(&request.frontend_opt)?);
        }
        let bridge = &bridge.importing(&named).await?;
        let rules = Rules::read(request.source_policies.clone())?;
        if request.r#final {
            return Err(Failure::unsupported(
                "the old way to return (Solve with Final)",
            ));
        }
        let definition = request.definition.clone().filter(|d| !d.def.is_empty());
        let result = match (definition, request.frontend.as_str()) {
            (Some(_), name) if !name.is_empty() => {
                return Err(Failure::new(
                    FailureKind::InvalidInput,
                    "a request has a definition or a frontend, not both",
                ));
            }
            (Some(definition), _) => plain(Some(bridge.solve_under(definition, &rules).await?)),
            (None, "") => plain(None),
            (None, name) => {
                let asked = FrontendRequest {
                    options: request.frontend_opt.clone(),
                    inputs: request.frontend_inputs.clone(),
                    session: job
                        .sessions
                        .first()
                        .map(ToString::to_string)
                        .unwrap_or_default(),
                };
                ask_frontend(&self.parts, bridge, name, asked).await?
            }
        };
        if request.evaluate {
            let refs = result.parts.iter().filter_map(|part| part.result.as_ref());
            futures::future::try_join_all(refs.map(|id| bridge.evaluate(id))).await?;
        }
        Ok(result)
    }
}

fn plain(result: Option<RefId>) -> FrontendResult {
    FrontendResult {
        parts: vec![FrontendPart {
            platform: None,
            result,
        }],
        ..FrontendResult::default()
    }
}

fn reply<T>(result: Result<T, Failure>) -> Reply<T> {
    result
        .map(Response::new)
        .map_err(|failure| status_from_failure(&failure))
}

fn mount_index<N>(index: N) -> Result<usize, Failure>
where
    usize: TryFrom<N>,
{
    usize::try_from(index)
        .map_err(|_| Failure::new(FailureKind::InvalidInput, "a mount's index is out of range"))
}

fn capabilities(ids: &[&str]) -> Vec<ApiCap> {
    ids.iter()
        .map(|id| ApiCap {
            id: (*id).to_owned(),
            enabled: true,
            ..ApiCap::default()
        })
        .collect()
}

#[async_trait]
impl LlbBridge for GatewayService {
    type ExecProcessStream = BoxStream<'static, Result<ExecMessage, Status>>;

    async fn ping(&self, request: Request<PingRequest>) -> Reply<PongResponse> {
        self.build(request.metadata()).await?;
        Ok(Response::new(PongResponse {
            frontend_api_caps: capabilities(FRONTEND_CAPABILITIES),
            llb_caps: capabilities(CAPABILITIES),
            workers: vec![worker_record(&self.parts)],
        }))
    }

    async fn solve(&self, request: Request<SolveRequest>) -> Reply<SolveResponse> {
        let open = self.build(request.metadata()).await?;
        let request = request.into_inner();
        let solved = Box::pin(self.solved(&open, &request)).await;
        let solved = solved.inspect_err(|failure| open.1.show_states(failure));
        reply(solved.and_then(|result| {
            let wire = convert::result_to_wire(&open.1, &result, &request)?;
            let first = result.parts.first().and_then(|part| part.result.clone());
            let old = first.filter(|_| !request.allow_result_return);
            Ok(SolveResponse {
                r#ref: old.map(|id| id.0).unwrap_or_default(),
                result: Some(wire),
            })
        }))
    }

    async fn resolve_image_config(
        &self,
        request: Request<ResolveImageConfigRequest>,
    ) -> Reply<ResolveImageConfigResponse> {
        let (_, bridge) = self.build(request.metadata()).await?;
        let resolved = async {
            let query = convert::image_query(request.into_inner())?;
            bridge.resolve_image(query).await?.into_image()
        };
        reply(resolved.await.map(|image| ResolveImageConfigResponse {
            digest: image.digest.to_string(),
            config: image.config.to_vec(),
            r#ref: image.reference,
        }))
    }

    async fn resolve_source_meta(
        &self,
        request: Request<ResolveSourceMetaRequest>,
    ) -> Reply<ResolveSourceMetaResponse> {
        let (_, bridge) = self.build(request.metadata()).await?;
        let resolved = source_meta::resolve(&bridge, request.into_inner()).await;
        Ok(Response::new(
            resolved.map_err(|f| status_from_failure(&f))?,
        ))
    }

    async fn read_file(&self, request: Request<ReadFileRequest>) -> Reply<ReadFileResponse> {
        let (_, bridge) = self.build(request.metadata()).await?;
        let request = request.into_inner();
        let read = async {
            let range = convert::byte_range(request.range)?;
            let id = RefId(request.r#ref);
            bridge.read_file(&id, &request.file_path, range).await
        };
        reply(read.await.map(|data| ReadFileResponse { data }))
    }

    async fn read_dir(&self, request: Request<ReadDirRequest>) -> Reply<ReadDirResponse> {
        let (_, bridge) = self.build(request.metadata()).await?;
        let request = request.into_inner();
        let id = RefId(request.r#ref);
        let listed = bridge.read_dir(&id, &request.dir_path, &request.include_pattern);
        reply(listed.await.map(|entries| ReadDirResponse { entries }))
    }

    async fn stat_file(&self, request: Request<StatFileRequest>) -> Reply<StatFileResponse> {
        let (_, bridge) = self.build(request.metadata()).await?;
        let request = request.into_inner();
        let id = RefId(request.r#ref);
        let found = bridge.stat_file(&id, &request.path).await;
        reply(found.map(|stat| StatFileResponse { stat: Some(stat) }))
    }

    async fn evaluate(&self, request: Request<EvaluateRequest>) -> Reply<EvaluateResponse> {
        let (_, bridge) = self.build(request.metadata()).await?;
        let id = RefId(request.into_inner().r#ref);
        let evaluated = bridge.evaluate(&id).await;
        let evaluated = evaluated.inspect_err(|failure| bridge.show_states(failure));
        reply(evaluated.map(|()| EvaluateResponse {}))
    }

    async fn r#return(&self, request: Request<ReturnRequest>) -> Reply<ReturnResponse> {
        let (frontend, bridge) = self.frontend(request.metadata()).await?;
        let request = request.into_inner();
        let result = match (request.error, request.result) {
            (Some(error), _) => Err(failure_from_rpc(&error)),
            (None, Some(result)) => Ok(convert::result_from_wire(&bridge, result)
                .map_err(|failure| status_from_failure(&failure))?),
            (None, None) => Ok(FrontendResult::default()),
        };
        if frontend.hand_over(result) {
            Ok(Response::new(ReturnResponse {}))
        } else {
            Err(Status::failed_precondition(
                "the build has its result already",
            ))
        }
    }

    async fn inputs(&self, request: Request<InputsRequest>) -> Reply<InputsResponse> {
        let (frontend, _) = self.frontend(request.metadata()).await?;
        Ok(Response::new(InputsResponse {
            definitions: frontend.request.inputs.clone(),
        }))
    }

    async fn warn(&self, request: Request<WarnRequest>) -> Reply<WarnResponse> {
        let (_, bridge) = self.build(request.metadata()).await?;
        let warning =
            convert::warning(request.into_inner()).map_err(|f| status_from_failure(&f))?;
        bridge.warn(warning).await;
        Ok(Response::new(WarnResponse {}))
    }

    async fn new_container(
        &self,
        request: Request<NewContainerRequest>,
    ) -> Reply<NewContainerResponse> {
        let (frontend, bridge) = self.frontend(request.metadata()).await?;
        let created = frontend.containers.create(&bridge, request.into_inner());
        reply(created.await.map(|()| NewContainerResponse {}))
    }

    async fn release_container(
        &self,
        request: Request<ReleaseContainerRequest>,
    ) -> Reply<ReleaseContainerResponse> {
        let (frontend, _) = self.frontend(request.metadata()).await?;
        let id = request.into_inner().container_id;
        let released = frontend.containers.release(&id).await;
        reply(released.map(|()| ReleaseContainerResponse {}))
    }

    async fn exec_process(
        &self,
        request: Request<Streaming<ExecMessage>>,
    ) -> Reply<Self::ExecProcessStream> {
        let (frontend, bridge) = self.frontend(request.metadata()).await?;
        Ok(Response::new(exec::converse(
            bridge,
            frontend,
            request.into_inner(),
        )))
    }

    async fn read_file_container(
        &self,
        request: Request<ReadFileRequest>,
    ) -> Reply<ReadFileResponse> {
        let (frontend, _) = self.frontend(request.metadata()).await?;
        let request = request.into_inner();
        let read = async {
            let range = convert::byte_range(request.range)?;
            let container = frontend.containers.get(&request.r#ref)?;
            let mount = mount_index(request.mount_index)?;
            container.read_file(mount, &request.file_path, range).await
        };
        reply(read.await.map(|data| ReadFileResponse { data }))
    }

    async fn read_dir_container(&self, request: Request<ReadDirRequest>) -> Reply<ReadDirResponse> {
        let (frontend, _) = self.frontend(request.metadata()).await?;
        let request = request.into_inner();
        let listed = async {
            let container = frontend.containers.get(&request.r#ref)?;
            let mount = mount_index(request.mount_index)?;
            let pattern = &request.include_pattern;
            container.read_dir(mount, &request.dir_path, pattern).await
        };
        reply(listed.await.map(|entries| ReadDirResponse { entries }))
    }

    async fn stat_file_container(
        &self,
        request: Request<StatFileRequest>,
    ) -> Reply<StatFileResponse> {
        let (frontend, _) = self.frontend(request.metadata()).await?;
        let request = request.into_inner();
        let found = async {
            let container = frontend.containers.get(&request.r#ref)?;
            let mount = mount_index(request.mount_index)?;
            container.stat_file(mount, &request.path).await
        };
        reply(
            found
                .await
                .map(|stat| StatFileResponse { stat: Some(stat) }),
        )
    }
}
