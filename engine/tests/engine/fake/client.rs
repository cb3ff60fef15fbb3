use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use cooper_engine::Engine;
use cooper_engine::server::unix_connections;
use cooper_proto::content::content_client::ContentClient;
use cooper_proto::control::BytesMessage;
use cooper_proto::control::control_client::ControlClient;
use cooper_proto::frontend::llb_bridge_client::LlbBridgeClient;
use cooper_proto::secrets::secrets_server::{Secrets, SecretsServer};
use cooper_proto::secrets::{GetSecretRequest, GetSecretResponse};
use futures::{SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};
use tokio_util::sync::PollSender;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tower::service_fn;

/// An engine that is served on a socket.
pub(crate) struct Served {
    socket: PathBuf,
    _folder: tempfile::TempDir,
    stop: oneshot::Sender<()>,
    tasks: JoinSet<()>,
}

impl Served {
    pub(crate) fn new(engine: &Engine) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("engine.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let (stop, stopped) = oneshot::channel::<()>();
        let mut tasks = JoinSet::new();
        let engine = engine.clone();
        tasks.spawn(async move {
            let until = async { drop(stopped.await) };
            cooper_engine::server::serve(engine, unix_connections(listener), until)
                .await
                .expect("it serves");
        });
        Self {
            socket,
            _folder: folder,
            stop,
            tasks,
        }
    }

    /// A client of its own, with a connection of its own.
    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.socket).await
    }

    /// A connection on which anything can be said.
    pub(crate) async fn raw(&self) -> UnixStream {
        UnixStream::connect(&self.socket)
            .await
            .expect("the socket is there")
    }

    pub(crate) async fn stop(mut self) {
        drop(self.stop);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("the server ends well");
        }
    }
}

/// A client of the engine's socket.
pub(crate) struct Client {
    pub(crate) control: ControlClient<Channel>,
    pub(crate) gateway: LlbBridgeClient<Channel>,
    pub(crate) content: ContentClient<Channel>,
    tasks: JoinSet<()>,
}

impl Client {
    async fn connect(socket: &Path) -> Self {
        let socket = socket.to_owned();
        let connector = service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://engine.invalid");
        let channel = endpoint
            .connect_with_connector(connector)
            .await
            .expect("the socket is there");
        Self {
            control: ControlClient::new(channel.clone()),
            gateway: LlbBridgeClient::new(channel.clone()),
            content: ContentClient::new(channel),
            tasks: JoinSet::new(),
        }
    }

    /// Opens a session in which the client serves its one secret, and health when it is `alive`.
    pub(crate) async fn attach(&mut self, session: &str, alive: bool) -> Result<(), Status> {
        let (outgoing, messages) = mpsc::channel(16);
        let mut request = Request::new(ReceiverStream::new(messages));
        let headers = request.metadata_mut();
        headers.insert(
            "x-docker-expose-session-uuid",
            session.parse().expect("ASCII"),
        );
        headers.append(
            "x-docker-expose-session-grpc-method",
            "/moby.buildkit.secrets.v1.Secrets/GetSecret"
                .parse()
                .expect("ASCII"),
        );
        let incoming = self.control.session(request).await?.into_inner();
        let reader = StreamReader::new(
            incoming
                .map(|message| message.map(|m| m.data).map_err(std::io::Error::other))
                .boxed(),
        );
        let sink = PollSender::new(outgoing)
            .sink_map_err(std::io::Error::other)
            .with(|data: Bytes| futures::future::ready(std::io::Result::Ok(BytesMessage { data })));
        let mut tunnel = tokio::io::join(reader, SinkWriter::new(CopyToBytes::new(sink)));
        let (near, mut far) = tokio::io::duplex(64 << 10);
        self.tasks.spawn(async move {
            // The tunnel ends when either side does.
            let _ended = tokio::io::copy_bidirectional(&mut tunnel, &mut far).await;
        });
        self.tasks.spawn(async move {
            let (_reporter, health) = tonic_health::server::health_reporter();
            let connection = futures::stream::once(async { std::io::Result::Ok(near) });
            Server::builder()
                .add_service(SecretsServer::new(OneSecret))
                .add_optional_service(alive.then_some(health))
                .serve_with_incoming(connection.chain(futures::stream::pending()))
                .await
                .expect("it serves");
        });
        Ok(())
    }
}

struct OneSecret;

#[tonic::async_trait]
impl Secrets for OneSecret {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        if request.into_inner().id == "password" {
            let data = b"swordfish".to_vec();
            return Ok(Response::new(GetSecretResponse { data }));
        }
        Err(Status::not_found("there is no such secret"))
    }
}

/// How long a test waits for what takes real time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
