use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;

use bytes::BytesMut;
use cooper_core::model::{Failure, SessionId};
use cooper_core::ports::{ChunkSink, ChunkSource, Sessions, SshAgent};
use cooper_proto::pb;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};

use super::request::{ExecRequest, MountKind};
use super::stop::Stop;
use crate::mount::DetachedMount;

/// Connections that one socket serves at a time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;

/// Largest piece that is forwarded at once.
///
/// # Units
/// Bytes. Source: agents' messages are below 256 KiB, most below 4 KiB.
const CHUNK: usize = 32 << 10;

/// The agents that an op's mounts want, by the position of the mount; one that is optional may be missing.
pub(super) type Agents = std::collections::BTreeMap<usize, Box<dyn SshAgent>>;

/// Asks the sessions, the best first, for every agent that the op names.
pub(super) async fn find_agents(
    request: &ExecRequest,
    sessions: &dyn Sessions,
    ids: &[SessionId],
) -> Result<Agents, Stop> {
    let mut agents = Agents::new();
    for (position, mount) in request.mounts.iter().enumerate() {
        let MountKind::Ssh(options) = &mount.kind else {
            continue;
        };
        match find(sessions, ids, options).await {
            Ok(agent) => drop(agents.insert(position, agent)),
            Err(_) if options.optional => {}
            Err(failure) => return Err(Stop::Failed(failure)),
        }
    }
    Ok(agents)
}

async fn find(
    sessions: &dyn Sessions,
    ids: &[SessionId],
    options: &pb::SshOpt,
) -> Result<Box<dyn SshAgent>, Failure> {
    let mut last = Failure::new(
        cooper_core::model::FailureKind::NotFound,
        format!("no SSH key {:?} forwarded from the client", options.id),
    );
    for id in ids {
        let found = match sessions.session(id).await {
            Ok(session) => session.ssh_agent(&options.id).await,
            Err(failure) => Err(failure),
        };
        match found {
            Ok(agent) => return Ok(agent),
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

/// A socket in a container, and whom it leads to.
pub(crate) struct SshSocket {
    listener: StdListener,
    agent: Box<dyn SshAgent>,
}

impl std::fmt::Debug for SshSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SshSocket").finish_non_exhaustive()
    }
}

impl SshSocket {
    /// Listens at a path of ours.
    pub(crate) fn at(path: &Path, agent: Box<dyn SshAgent>) -> io::Result<Self> {
        let listener = StdListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, agent })
    }

    /// Listens at a name in a mount of ours that nobody else sees yet.
    pub(super) fn bind(
        stage: &DetachedMount,
        name: &str,
        agent: Box<dyn SshAgent>,
    ) -> io::Result<Self> {
        use std::os::fd::AsFd;
        // A socket is bound by path alone, and a detached mount has no path but this.
        let directory = format!("/proc/self/fd/{}", stage.as_fd().as_raw_fd());
        let listener = StdListener::bind(Path::new(&directory).join(name))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, agent })
    }
}

/// Serves sockets for as long as it is polled. Dropping it closes them and all their connections.
pub(crate) async fn serve(sockets: Vec<SshSocket>) {
    let mut all: FuturesUnordered<_> = sockets.into_iter().map(serve_one).collect();
    while all.next().await.is_some() {}
    std::future::pending().await
}

async fn serve_one(socket: SshSocket) {
    let listener = match UnixListener::from_std(socket.listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::warn!(%error, "an SSH socket cannot be served"),
    };
    let mut connections = FuturesUnordered::new();
    let mut accepts = true;
    while accepts || !connections.is_empty() {
        tokio::select! {
            accepted = listener.accept(), if accepts && connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => connections.push(relay(stream, socket.agent.as_ref())),
                Err(error) => {
                    tracing::warn!(%error, "an SSH socket takes no more connections");
                    accepts = false;
                }
            },
            Some(ended) = connections.next(), if !connections.is_empty() => {
                if let Err(failure) = ended {
                    tracing::debug!(%failure, "a connection to an SSH agent failed");
                }
            }
        }
    }
}

async fn relay(stream: UnixStream, agent: &dyn SshAgent) -> Result<(), Failure> {
    let connection = agent.connect().await?;
    let (read, write) = stream.into_split();
    futures::try_join!(
        to_client(read, connection.sink),
        from_client(connection.source, write)
    )?;
    Ok(())
}

async fn to_client(mut from: OwnedReadHalf, mut sink: Box<dyn ChunkSink>) -> Result<(), Failure> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        if from.read_buf(&mut buffer).await.map_err(broken)? == 0 {
            return sink.finish().await;
        }
        sink.send(buffer.split().freeze()).await?;
    }
}

async fn from_client(
    mut source: Box<dyn ChunkSource>,
    mut to: OwnedWriteHalf,
) -> Result<(), Failure> {
    while let Some(chunk) = source.receive().await? {
        to.write_all(&chunk).await.map_err(broken)?;
    }
    to.shutdown().await.map_err(broken)
}

fn broken(error: io::Error) -> Failure {
    Failure::new(
        cooper_core::model::FailureKind::Infrastructure,
        format!("a step's connection to an SSH agent: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::TmpfsOptions;
    use async_trait::async_trait;
    use bytes::Bytes;
    use cooper_core::ports::SshConnection;
    use std::os::fd::AsFd;
    use tokio::sync::mpsc;

    /// Says everything back, and a word more at the end.
    struct Echo;

    struct Sink(mpsc::Sender<Bytes>);
    struct Source(mpsc::Receiver<Bytes>);

    #[async_trait]
    impl SshAgent for Echo {
        async fn connect(&self) -> Result<SshConnection, Failure> {
            let (sink, source) = mpsc::channel(1);
            Ok(SshConnection {
                sink: Box::new(Sink(sink)),
                source: Box::new(Source(source)),
            })
        }
    }

    #[async_trait]
    impl ChunkSink for Sink {
        async fn send(&mut self, chunk: Bytes) -> Result<(), Failure> {
            self.0.send(chunk).await.unwrap();
            Ok(())
        }
        async fn finish(self: Box<Self>) -> Result<(), Failure> {
            self.0.send(Bytes::from_static(b"bye")).await.unwrap();
            Ok(())
        }
    }

    #[async_trait]
    impl ChunkSource for Source {
        async fn receive(&mut self) -> Result<Option<Bytes>, Failure> {
            Ok(self.0.recv().await)
        }
    }

    #[tokio::test]
    async fn socket_on_a_detached_mount_serves_many_and_ends_each_way_by_itself() {
        let stage = DetachedMount::tmpfs(TmpfsOptions::default()).unwrap();
        let socket = SshSocket::bind(&stage, "socket", Box::new(Echo)).unwrap();
        let path = format!("/proc/self/fd/{}/socket", stage.as_fd().as_raw_fd());
        let talk = |number: u32| {
            let path = path.clone();
            async move {
                let mut stream = UnixStream::connect(path).await.unwrap();
                let said = number.to_string().repeat(100_000);
                let (mut read, mut write) = stream.split();
                let (sent, heard) = tokio::join!(
                    async {
                        write.write_all(said.as_bytes()).await.unwrap();
                        write.shutdown().await
                    },
                    async {
                        let mut heard = String::new();
                        read.read_to_string(&mut heard).await.unwrap();
                        heard
                    }
                );
                sent.unwrap();
                assert_eq!(heard.strip_suffix("bye"), Some(said.as_str()));
            }
        };
        // More than are served at a time.
        let clients = futures::future::join_all((0..100).map(talk));
        tokio::select! {
            _ = clients => {}
            () = serve(vec![socket]) => unreachable!(),
        }
        let refused = UnixStream::connect(&path).await;
        assert!(refused.is_err(), "nobody listens after the container's end");
    }
}
