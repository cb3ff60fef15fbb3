use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use cooper_core::model::Failure;
use cooper_core::ports::{ExportTarget, ExportTargetRequest, Session};
use cooper_engine::server::status_from_failure;
use cooper_proto::MAX_MESSAGE_BYTES;
use cooper_proto::filesync::BytesMessage;
use cooper_proto::fsutil::Packet;
use cooper_worker::confine::Root;
use cooper_worker::fsync::{self, ReceiveOptions};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::Service;

use super::packets::ServedPackets;
use super::services::SessionServices;

const METHOD: &str = "/moby.filesync.v1.FileSend/DiffCopy";
const EXPORTER: &str = "buildkit-attachable-exporter-id";

/// Takes the results of exporters.
///
/// Not the generated service: for a folder the same method carries packets, for a file chunks of bytes, and the
/// exporter's number in the headers decides which.
#[derive(Clone, Debug)]
pub(super) struct FileSendService(pub(super) SessionServices);

impl NamedService for FileSendService {
    const NAME: &'static str = "moby.filesync.v1.FileSend";
}

impl Service<http::Request<Body>> for FileSendService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let services = self.0.clone();
        async move {
            if request.uri().path() != METHOD {
                return Ok(Status::unimplemented("no such method").into_http());
            }
            let exporter = request
                .headers()
                .get(EXPORTER)
                .and_then(|value| value.to_str().ok())
                .and_then(|value| value.parse().ok())
                .unwrap_or(0);
            match open(&services, exporter).await {
                Ok(ExportTarget::Directory(folder)) => {
                    let merge = !services.session.mirrors(exporter);
                    let receiver = ReceiveFolder {
                        services,
                        folder,
                        merge,
                    };
                    let codec = ProstCodec::<Packet, Packet>::default();
                    let mut grpc = Grpc::new(codec).max_decoding_message_size(MAX_MESSAGE_BYTES);
                    Ok(grpc.streaming(receiver, request).await)
                }
                Ok(ExportTarget::Stream(sink)) => {
                    let receiver = ReceiveBytes { sink: Some(sink) };
                    let codec = ProstCodec::<BytesMessage, BytesMessage>::default();
                    let mut grpc = Grpc::new(codec).max_decoding_message_size(MAX_MESSAGE_BYTES);
                    Ok(grpc.streaming(receiver, request).await)
                }
                Ok(ExportTarget::RemoteDirectory(_)) => {
                    Ok(Status::internal("a client's own target is not remote").into_http())
                }
                Err(failure) => Ok(status_from_failure(&failure).into_http()),
            }
        }
        .boxed()
    }
}

async fn open(services: &SessionServices, exporter: u32) -> Result<ExportTarget, Failure> {
    use crate::command::build::Target;
    let directory = matches!(services.session.target(exporter)?, Target::Directory(_));
    let request = ExportTargetRequest {
        exporter,
        directory,
        ..ExportTargetRequest::default()
    };
    services.session.export_target(request).await
}

type Answers<M> = BoxStream<'static, Result<M, Status>>;
type Answer<M> =
    Pin<Box<dyn Future<Output = Result<Response<Answers<M>>, Status>> + Send + 'static>>;

struct ReceiveFolder {
    services: SessionServices,
    folder: PathBuf,
    /// Whether what is in the folder already stays.
    merge: bool,
}

impl StreamingService<Packet> for ReceiveFolder {
    type Response = Packet;
    type ResponseStream = Answers<Packet>;
    type Future = Answer<Packet>;

    fn call(&mut self, request: Request<Streaming<Packet>>) -> Self::Future {
        let folder = self.folder.clone();
        let (transfers, merge) = (self.services.transfers.clone(), self.merge);
        let (mut packets, answers) = ServedPackets::new(request.into_inner());
        transfers.spawn(async move {
            let options = ReceiveOptions {
                merge,
                ..ReceiveOptions::default()
            };
            let received = match Root::open(&folder) {
                Ok(root) => fsync::receive(&mut packets, root, options, &mut |_| {})
                    .await
                    .map_err(Failure::from),
                Err(error) => Err(Failure::from(fsync::SyncError::from(error))),
            };
            if let Err(failure) = received {
                packets.fail(status_from_failure(&failure)).await;
            }
        });
        let answers: Answers<Packet> = ReceiverStream::new(answers).boxed();
        futures::future::ready(Ok(Response::new(answers))).boxed()
    }
}

struct ReceiveBytes {
    sink: Option<Box<dyn cooper_core::ports::ChunkSink>>,
}

impl StreamingService<BytesMessage> for ReceiveBytes {
    type Response = BytesMessage;
    type ResponseStream = Answers<BytesMessage>;
    type Future = Answer<BytesMessage>;

    fn call(&mut self, request: Request<Streaming<BytesMessage>>) -> Self::Future {
        let sink = self.sink.take();
        let answer = async move {
            let mut sink = sink.ok_or_else(|| Status::internal("a call is answered once"))?;
            let mut incoming = request.into_inner();
            while let Some(message) = incoming.message().await? {
                let sent = sink.send(message.data).await;
                sent.map_err(|failure| status_from_failure(&failure))?;
            }
            let finished = sink.finish().await;
            finished.map_err(|failure| status_from_failure(&failure))?;
            Ok(Response::new(futures::stream::empty().boxed()))
        };
        answer.boxed()
    }
}
