use std::path::{Path, PathBuf};
use std::sync::Arc;

use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::Session;
use cooper_engine::job::CacheSpec;
use cooper_engine::server::failure_from_status;
use cooper_proto::MAX_MESSAGE_BYTES;
use cooper_proto::control::control_client::ControlClient;
use cooper_proto::control::{
    CacheOptions, CacheOptionsEntry, Exporter, SolveRequest, StatusRequest,
};
use futures::{FutureExt, StreamExt};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::build::{BuildRequest, FRONTEND, Started};
use crate::attach::{ClientSession, RemoteAttachment};

const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// An engine that another process serves.
#[derive(Clone, Debug)]
pub struct Joined {
    channel: Channel,
}

impl Joined {
    /// Connects to a socket.
    ///
    /// # Errors
    /// `Infrastructure` when nobody answers there.
    pub async fn connect(socket: &Path) -> Result<Self, Failure> {
        let path: PathBuf = socket.to_path_buf();
        let connector = service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://cooper.invalid")
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .connect_with_connector(connector)
            .await
            .map_err(|_| {
                Failure::new(
                    FailureKind::Infrastructure,
                    format!(
                        "another process has the state folder and does not answer on {}",
                        socket.display()
                    ),
                )
            })?;
        Ok(Self { channel })
    }

    fn control(&self) -> ControlClient<Channel> {
        ControlClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Starts a build whose files travel over the connection.
    pub(super) async fn build(&self, mut request: BuildRequest) -> Result<Started, Failure> {
        let session = Arc::new(ClientSession::new(request.session_parts()));
        let session_id = session.id().0.clone();
        let attachment = RemoteAttachment::open(self.control(), session).await?;
        let exporters: Vec<Exporter> = request
            .plan
            .outputs
            .into_iter()
            .map(|output| Exporter {
                r#type: output.kind,
                attrs: output.attributes,
            })
            .collect();
        let solve = SolveRequest {
            r#ref: request.reference.clone(),
            session: session_id,
            frontend: FRONTEND.into(),
            frontend_attrs: request.plan.options,
            entitlements: request.plan.entitlements,
            exporters,
            cache: Some(CacheOptions {
                imports: entries(request.plan.caches.imports),
                exports: entries(request.plan.caches.exports),
                ..CacheOptions::default()
            }),
            ..SolveRequest::default()
        };
        let status = StatusRequest {
            r#ref: request.reference,
        };
        let mut control = self.control();
        let follow = async move {
            match control.status(status).await {
                Ok(answer) => answer
                    .into_inner()
                    .map(|news| news.map_err(|status| failure_from_status(&status)))
                    .boxed(),
                Err(status) => futures::stream::iter([Err(failure_from_status(&status))]).boxed(),
            }
        };
        let cancel = CancellationToken::new();
        let cancelled = cancel.clone();
        let mut control = self.control();
        let outcome = async move {
            let solved = tokio::select! {
                biased;
                solved = control.solve(solve) => match solved {
                    Ok(answer) => Ok(answer.into_inner().exporter_response),
                    Err(status) => Err(failure_from_status(&status)),
                },
                // Dropping the call is what tells the daemon.
                () = cancelled.cancelled() => {
                    Err(Failure::new(FailureKind::Cancelled, "the build was cancelled"))
                }
            };
            attachment.close().await;
            solved
        };
        Ok(Started {
            progress: follow.flatten_stream().boxed(),
            outcome: outcome.boxed(),
            cancel,
        })
    }
}

fn entries(specs: Vec<CacheSpec>) -> Vec<CacheOptionsEntry> {
    let entry = |spec: CacheSpec| CacheOptionsEntry {
        r#type: spec.kind,
        attrs: spec.attributes,
    };
    specs.into_iter().map(entry).collect()
}
