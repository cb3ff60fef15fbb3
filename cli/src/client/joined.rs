use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cooper_core::model::{Failure, FailureKind};
use cooper_engine::server::failure_from_status;
use cooper_proto::content::ReadContentRequest;
use cooper_proto::content::content_client::ContentClient;
use cooper_proto::control::InfoRequest;
use cooper_proto::control::control_client::ControlClient;
use cooper_proto::cooper::cooper_client::CooperClient;
use cooper_proto::{Digest, MAX_MESSAGE_BYTES};
use futures::StreamExt;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::Code;
use tonic::transport::Channel;
use tower::service_fn;

use super::address::DaemonAddress;
use super::endpoint::{Endpoint, Link};
use super::program::{Dialer, Program, Running};

const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// How often a connection that says nothing is asked whether somebody is there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// An engine that another process serves.
#[derive(Clone, Debug)]
pub struct Joined {
    channel: Channel,
    /// Where the daemon is, for people.
    name: String,
    /// The program through which it is reached; ends with the last of us.
    _program: Option<Arc<Running>>,
}

impl Joined {
    /// Connects to the socket of a state folder.
    ///
    /// # Errors
    /// `Infrastructure` when nobody answers there.
    pub(super) async fn of_folder(socket: &Path) -> Result<Self, Failure> {
        let stream = UnixStream::connect(socket).await.map_err(|_| {
            let words = format!(
                "another process has the state folder and does not answer on {}",
                socket.display()
            );
            Failure::new(FailureKind::Infrastructure, words)
        })?;
        Ok(Self {
            channel: over(Box::new(stream)).await?,
            name: format!("unix://{}", socket.display()),
            _program: None,
        })
    }

    /// Connects to a daemon.
    ///
    /// # Errors
    /// `Infrastructure` when nobody answers there in time, `NotFound` when the program that leads there is missing.
    pub async fn connect(endpoint: &Endpoint) -> Result<Self, Failure> {
        if let DaemonAddress::Program(program) = &endpoint.address {
            return Self::through(program, endpoint).await;
        }
        let joined = Self {
            channel: over(endpoint.connect().await?).await?,
            name: endpoint.address.to_string(),
            _program: None,
        };
        match joined.greet(endpoint.timeout).await {
            Ok(()) => Ok(joined),
            Err(failure) => Err(endpoint.unreachable(&failure.message)),
        }
    }

    /// Connects through a program, which runs whichever client there is beside the daemon.
    async fn through(program: &Program, endpoint: &Endpoint) -> Result<Self, Failure> {
        let mut said = String::new();
        for dialer in [Dialer::Buildctl, Dialer::Cooper] {
            let (running, link) = program.start(dialer)?;
            match over(Box::new(link)).await {
                Ok(channel) => {
                    let joined = Self {
                        channel,
                        name: endpoint.address.to_string(),
                        _program: None,
                    };
                    match joined.greet(endpoint.timeout).await {
                        Ok(()) => {
                            return Ok(Self {
                                _program: Some(Arc::new(running)),
                                ..joined
                            });
                        }
                        Err(failure) => said = failure.message,
                    }
                }
                Err(failure) => said = failure.message,
            }
            let ended = running.ended().await;
            if !ended.words.is_empty() {
                said = ended.words;
            }
            if !ended.lacks_dialer {
                break;
            }
        }
        Err(endpoint.unreachable(&said))
    }

    /// Asks who is there; that anybody answers is enough.
    async fn greet(&self, timeout: Duration) -> Result<(), Failure> {
        let mut control = self.control();
        match tokio::time::timeout(timeout, control.info(InfoRequest {})).await {
            Ok(Ok(_)) => Ok(()),
            // One that is older than the question.
            Ok(Err(status)) if status.code() == Code::Unimplemented => Ok(()),
            Ok(Err(status)) => Err(failure_from_status(&status)),
            Err(_) => Err(Failure::new(
                FailureKind::Infrastructure,
                "nobody answers in time",
            )),
        }
    }

    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// What BuildKit's daemons do.
    #[must_use]
    pub fn control(&self) -> ControlClient<Channel> {
        ControlClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// What is wrong when a call fails: the daemon's own words, or that it is gone.
    pub(super) fn failure(&self, status: &tonic::Status) -> Failure {
        use std::error::Error as _;
        // What a daemon says has no cause on this side.
        if status.source().is_none() {
            return failure_from_status(status);
        }
        let words = format!("the connection to the daemon at {} is lost", self.name);
        let failure = Failure::new(FailureKind::Infrastructure, words);
        failure.with_hint("does it still run? its log says why it ended")
    }

    /// What only ours do.
    pub(crate) fn cooper(&self) -> CooperClient<Channel> {
        CooperClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// What is wrong when a call of [`Self::cooper`] fails.
    pub(crate) fn failure_of_ours(&self, status: &tonic::Status) -> Failure {
        if status.code() == Code::Unimplemented {
            let words = format!(
                "the daemon at {} is not Cooper's and cannot do this",
                self.name
            );
            let failure = Failure::new(FailureKind::Unsupported, words);
            return failure.with_hint("run cooperd there, or leave out --addr");
        }
        failure_from_status(status)
    }

    /// Reads a blob that the daemon keeps, a part at a time.
    ///
    /// # Errors
    /// `NotFound` when it has none of that digest; those of `take`.
    pub async fn read_blob(
        &self,
        digest: &Digest,
        mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let request = ReadContentRequest {
            digest: digest.to_string(),
            ..ReadContentRequest::default()
        };
        let mut client =
            ContentClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let answer = client.read(request).await;
        let mut parts = answer
            .map_err(|status| failure_from_status(&status))?
            .into_inner();
        while let Some(part) = parts.next().await {
            let part = part.map_err(|status| failure_from_status(&status))?;
            take(&part.data)?;
        }
        Ok(())
    }
}

/// A channel over one connection. It is not made anew when it breaks: sessions and builds have broken with it.
async fn over(link: Box<dyn Link>) -> Result<Channel, Failure> {
    let link = Mutex::new(Some(link));
    let connector = service_fn(move |_| {
        let link = link.lock().ok().and_then(|mut link| link.take());
        let lost = || std::io::Error::other("the connection to the daemon is lost");
        std::future::ready(link.map(TokioIo::new).ok_or_else(lost))
    });
    tonic::transport::Endpoint::from_static("http://cooper.invalid")
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(KEEPALIVE)
        .connect_with_connector(connector)
        .await
        .map_err(|error| {
            let words = format!("the connection to the daemon failed: {error}");
            Failure::new(FailureKind::Infrastructure, words)
        })
}
