use std::io;
use std::sync::Arc;

use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::Session as _;
use cooper_engine::server::{Connection, failure_from_status};
use cooper_proto::MAX_MESSAGE_BYTES;
use cooper_proto::content::content_server::ContentServer;
use cooper_proto::control::BytesMessage;
use cooper_proto::control::control_client::ControlClient;
use cooper_proto::filesync::auth_server::AuthServer;
use cooper_proto::filesync::file_sync_server::FileSyncServer;
use cooper_proto::secrets::secrets_server::SecretsServer;
use cooper_proto::ssh_forward::ssh_server::SshServer;
use futures::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};
use tokio_util::sync::{CancellationToken, PollSender};
use tokio_util::task::TaskTracker;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Server};
use tonic::{Request, Streaming};

use super::file_send::FileSendService;
use super::services::SessionServices;
use super::session::ClientSession;

/// Chunks on their way to the daemon before the writer has to wait.
const CHUNKS: usize = 16;

const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Methods that the session serves, which a daemon wants to know before it calls them.
const METHODS: &[&str] = &[
    "/moby.filesync.v1.FileSync/DiffCopy",
    "/moby.filesync.v1.FileSend/DiffCopy",
    "/moby.filesync.v1.Auth/Credentials",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
    "/containerd.services.content.v1.Content/Info",
    "/containerd.services.content.v1.Content/Read",
    "/containerd.services.content.v1.Content/Write",
    "/moby.sshforward.v1.SSH/CheckAgent",
    "/moby.sshforward.v1.SSH/ForwardAgent",
    "/grpc.health.v1.Health/Check",
];

/// A session that is attached to a daemon over its own connection.
pub struct RemoteAttachment {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl RemoteAttachment {
    /// Attaches a session: opens a stream to the daemon and serves the session's services on it, the other way round
    /// (parity sheet D).
    ///
    /// # Errors
    /// When the daemon refuses the session.
    pub async fn open(
        mut control: ControlClient<Channel>,
        session: Arc<ClientSession>,
    ) -> Result<Self, Failure> {
        let (to_daemon, outgoing) = mpsc::channel(CHUNKS);
        let mut request = Request::new(ReceiverStream::new(outgoing));
        let mut put = |key: &'static str, text: &str| {
            let value: Result<MetadataValue<Ascii>, _> = text.parse();
            let value = value.map_err(|_| {
                let words = format!("{text:?} cannot be sent as the header {key}");
                Failure::new(FailureKind::Internal, words)
            })?;
            request.metadata_mut().append(key, value);
            Ok::<_, Failure>(())
        };
        put("x-docker-expose-session-uuid", &session.id().0)?;
        put("x-docker-expose-session-name", "cooper")?;
        put("x-docker-expose-session-sharedkey", session.shared_key())?;
        for method in METHODS {
            put("x-docker-expose-session-grpc-method", method)?;
        }
        let opened = control.session(request).await;
        let incoming = opened.map_err(|status| failure_from_status(&status))?;
        let connection = tunnel(incoming.into_inner(), to_daemon);
        let attachment = Self {
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let serving = serve(connection, session, attachment.tasks.clone());
        let stop = attachment.stop.clone();
        attachment.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = serving => {}
            }
        });
        attachment.tasks.close();
        Ok(attachment)
    }

    /// Ends the session.
    pub async fn close(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

async fn serve(connection: Connection, session: Arc<ClientSession>, transfers: TaskTracker) {
    let services = SessionServices { session, transfers };
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter
        .set_service_status("", tonic_health::ServingStatus::Serving)
        .await;
    // One connection and never another; the server ends with it.
    let connections =
        futures::stream::iter([Ok::<_, io::Error>(connection)]).chain(futures::stream::pending());
    let served = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_service(
            FileSyncServer::new(services.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES),
        )
        .add_service(FileSendService(services.clone()))
        .add_service(AuthServer::new(services.clone()))
        .add_service(
            ContentServer::new(services.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES),
        )
        .add_service(SshServer::new(services.clone()))
        .add_service(SecretsServer::new(services))
        .add_service(health)
        .serve_with_incoming(connections)
        .await;
    if let Err(error) = served {
        tracing::warn!(%error, "the session ended badly");
    }
}

/// The bytes of the session's stream as a connection.
fn tunnel(incoming: Streaming<BytesMessage>, to_daemon: mpsc::Sender<BytesMessage>) -> Connection {
    let chunks = incoming.map(|message| message.map(|m| m.data).map_err(io::Error::other));
    let reader = StreamReader::new(chunks);
    let sink = PollSender::new(to_daemon)
        .sink_map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
        .with(|data: Bytes| futures::future::ready(io::Result::Ok(BytesMessage { data })));
    let writer = SinkWriter::new(CopyToBytes::new(sink));
    Connection::new(tokio::io::join(reader, writer))
}
