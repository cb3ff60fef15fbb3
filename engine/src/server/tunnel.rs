use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind};
use cooper_proto::control::BytesMessage;
use futures::stream::BoxStream;
use futures::{SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};
use tokio_util::sync::{CancellationToken, PollSender};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::service_fn;

use super::remote_session::{RemoteSession, SessionHeaders};
use crate::Limits;
use crate::engine::Parts;

/// Chunks on their way to the client before the writer has to wait.
const CHUNKS: usize = 16;

/// Failed health checks in a row after which a session is given up (parity sheet D).
const HEALTH_FAILURES: u32 = 2;

const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// What goes to the client.
pub(super) type ToClient = BoxStream<'static, Result<BytesMessage, Status>>;

/// Turns a client's byte stream into a connection on which the client serves, and attaches its session.
///
/// # Errors
/// `InvalidInput` when the session has no id or one that is in use.
pub(super) fn open(
    parts: &Arc<Parts>,
    request: Request<Streaming<BytesMessage>>,
) -> Result<ToClient, Failure> {
    let headers = SessionHeaders::read(request.metadata())?;
    let health = HealthRule::read(request.metadata(), &parts.limits);
    let (to_client, outgoing) = mpsc::channel(CHUNKS);
    let ended = parts.stopping.child_token();
    let channel = connect(request.into_inner(), to_client.clone(), ended.clone());
    let session = Arc::new(RemoteSession::new(headers, channel.clone()));
    let attachment = parts.sessions.attach(session)?;
    let watch = async move {
        tokio::select! {
            () = ended.cancelled() => {}
            // The client closed the other direction.
            () = to_client.closed() => {}
            () = health.watch(channel) => {}
        }
        drop(attachment);
        // The reader learns that the connection is over, whoever still holds the channel.
        ended.cancel();
    };
    // Joined by the engine's end; what it holds is let go as soon as the session is over.
    let _watched_to_its_end = parts.tasks.spawn("a session", watch);
    Ok(ReceiverStream::new(outgoing).map(Ok).boxed())
}

/// A gRPC client over the client's bytes. It connects when it is first used.
fn connect(
    incoming: Streaming<BytesMessage>,
    to_client: mpsc::Sender<BytesMessage>,
    ended: CancellationToken,
) -> Channel {
    let over = ended.clone();
    let chunks = incoming
        .map(|message| message.map(|m| m.data).map_err(io::Error::other))
        .chain(futures::stream::once(async move {
            // After the client's last byte the session is over.
            ended.cancel();
            Err(io::ErrorKind::UnexpectedEof.into())
        }))
        .take_until(over.cancelled_owned());
    let reader = StreamReader::new(chunks.boxed());
    let sink = PollSender::new(to_client)
        .sink_map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
        .with(|data: Bytes| futures::future::ready(io::Result::Ok(BytesMessage { data })));
    let writer = SinkWriter::new(CopyToBytes::new(sink));
    let connection = Mutex::new(Some(TokioIo::new(tokio::io::join(reader, writer))));
    let connector = service_fn(move |_| {
        let first = connection.lock().take();
        // There is no second connection: the client opened one.
        let answer = first.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
        futures::future::ready(answer)
    });
    Endpoint::from_static("http://session.invalid")
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .connect_with_connector_lazy(connector)
}

/// How a session shows that it is alive (parity sheet D).
struct HealthRule {
    interval: Duration,
    timeout: Duration,
}

impl HealthRule {
    fn read(metadata: &MetadataMap, limits: &Limits) -> Self {
        let own = metadata
            .get("x-buildkit-session-health-custom-timeout")
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.parse().ok())
            .map(Duration::from_millis);
        Self {
            interval: limits.health_interval,
            timeout: own.unwrap_or(limits.health_timeout),
        }
    }

    /// Ends when the session is taken for dead.
    async fn watch(self, channel: Channel) {
        let mut client = HealthClient::new(channel);
        let mut failures = 0;
        let mut timeout = self.timeout;
        // The connection begins with its first use, and only then is it noticed that the client closes it. A client
        // that answers late is asked again below.
        let first = client.check(HealthCheckRequest::default());
        let _unjudged = tokio::time::timeout(timeout, first).await;
        while failures < HEALTH_FAILURES {
            // The first question comes at once: it is what opens the connection, so that a session that no build
            // uses is read to its end too.
            let begun = tokio::time::Instant::now();
            let check = client.check(HealthCheckRequest::default());
            match tokio::time::timeout(timeout, check).await {
                Ok(Ok(_)) => failures = 0,
                Ok(Err(status)) => {
                    failures += 1;
                    tracing::warn!(%status, "a session's health check failed");
                }
                Err(_) => {
                    failures += 1;
                    tracing::warn!(?timeout, "a session's health check took too long");
                }
            }
            // A link that is slow for good is given time to be so.
            timeout = self.timeout.max(begun.elapsed().mul_f64(1.5));
            // From question to question, so that slow answers make it no longer until a dead session is known.
            tokio::time::sleep_until(begun + self.interval).await;
        }
    }
}

/// A session that cannot be used.
pub(super) fn refused(words: &str) -> Failure {
    Failure::new(FailureKind::InvalidInput, words)
}
