use std::io;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::{ChunkSink, ChunkSource, SshAgent, SshConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use crate::command::build::SshSource;

/// Longest message of the agent protocol.
///
/// # Units
/// Bytes. Source: OpenSSH's `AGENT_MAX_LEN`.
const MAX_MESSAGE: usize = 256 << 10;

/// Messages that a step may send (draft-miller-ssh-agent): listing keys and signing with them. Adding, removing and
/// locking stay with the user.
const ALLOWED: [u8; 2] = [11, 13];

/// `SSH_AGENT_FAILURE`, as a whole message.
const REFUSAL: [u8; 5] = [0, 0, 0, 1, 5];

/// Chunks of requests that wait for the agent.
const WAITING: usize = 16;

/// A socket of this user's that a build may talk to.
#[derive(Debug, Clone)]
pub(super) struct ClientSocket {
    path: PathBuf,
    /// Whether everything passes, and not only what a step may ask an agent.
    raw: bool,
}

impl ClientSocket {
    pub(super) fn new(source: &SshSource) -> Self {
        Self {
            path: source.socket.clone(),
            raw: source.raw,
        }
    }

    fn failure(&self, error: &io::Error) -> Failure {
        let message = format!("the SSH agent at {}: {error}", self.path.display());
        Failure::new(FailureKind::Infrastructure, message)
    }
}

#[async_trait]
impl SshAgent for ClientSocket {
    async fn connect(&self) -> Result<SshConnection, Failure> {
        let stream = UnixStream::connect(&self.path).await;
        let (read, write) = stream.map_err(|error| self.failure(&error))?.into_split();
        let socket = self.clone();
        if self.raw {
            return Ok(SshConnection {
                sink: Box::new(RawSink {
                    write,
                    socket: socket.clone(),
                }),
                source: Box::new(RawSource { read, socket }),
            });
        }
        let (requests, waiting) = mpsc::channel(WAITING);
        Ok(SshConnection {
            sink: Box::new(AgentSink { requests }),
            source: Box::new(AgentSource {
                waiting,
                unread: BytesMut::new(),
                read,
                write,
                socket,
            }),
        })
    }
}

struct RawSink {
    write: OwnedWriteHalf,
    socket: ClientSocket,
}

#[async_trait]
impl ChunkSink for RawSink {
    async fn send(&mut self, chunk: Bytes) -> Result<(), Failure> {
        let written = self.write.write_all(&chunk).await;
        written.map_err(|error| self.socket.failure(&error))
    }

    async fn finish(mut self: Box<Self>) -> Result<(), Failure> {
        let ended = self.write.shutdown().await;
        ended.map_err(|error| self.socket.failure(&error))
    }
}

struct RawSource {
    read: OwnedReadHalf,
    socket: ClientSocket,
}

#[async_trait]
impl ChunkSource for RawSource {
    async fn receive(&mut self) -> Result<Option<Bytes>, Failure> {
        let mut buffer = BytesMut::with_capacity(32 << 10);
        let read = self.read.read_buf(&mut buffer).await;
        let read = read.map_err(|error| self.socket.failure(&error))?;
        Ok((read > 0).then(|| buffer.freeze()))
    }
}

struct AgentSink {
    requests: mpsc::Sender<Bytes>,
}

#[async_trait]
impl ChunkSink for AgentSink {
    async fn send(&mut self, chunk: Bytes) -> Result<(), Failure> {
        // Where nobody listens any more, the other way has said why.
        let _ = self.requests.send(chunk).await;
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }
}

/// Takes requests one by one and has each answered, by the agent or by a refusal: so answers keep their order.
struct AgentSource {
    waiting: mpsc::Receiver<Bytes>,
    unread: BytesMut,
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    socket: ClientSocket,
}

#[async_trait]
impl ChunkSource for AgentSource {
    async fn receive(&mut self) -> Result<Option<Bytes>, Failure> {
        let answered = self.answer_next().await;
        answered.map_err(|error| self.socket.failure(&error))
    }
}

impl AgentSource {
    async fn answer_next(&mut self) -> io::Result<Option<Bytes>> {
        let request = loop {
            if let Some(request) = take_message(&mut self.unread)? {
                break request;
            }
            match self.waiting.recv().await {
                Some(chunk) => self.unread.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        };
        let kind = request.get(4);
        if !kind.is_some_and(|kind| ALLOWED.contains(kind)) {
            return Ok(Some(Bytes::from_static(&REFUSAL)));
        }
        self.write.write_all(&request).await?;
        let mut answer = BytesMut::new();
        loop {
            if let Some(answer) = take_message(&mut answer)? {
                return Ok(Some(answer));
            }
            if self.read.read_buf(&mut answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// The first message of what arrived, its length included; `None` while it is not all there.
fn take_message(unread: &mut BytesMut) -> io::Result<Option<Bytes>> {
    let Some(mut length) = unread.get(..4) else {
        return Ok(None);
    };
    let length = length.get_u32() as usize;
    if length > MAX_MESSAGE {
        let words = format!("a message of {length} bytes, more than {MAX_MESSAGE}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, words));
    }
    if unread.len() < 4 + length {
        unread.reserve(4 + length - unread.len());
        return Ok(None);
    }
    let mut message = BytesMut::with_capacity(4 + length);
    message.put(unread.split_to(4 + length));
    Ok(Some(message.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    /// Answers every message with one of its own kind; ends with its connection.
    async fn echo(listener: UnixListener) -> Vec<u8> {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        let mut length = [0; 4];
        while stream.read_exact(&mut length).await.is_ok() {
            let mut body = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut body).await.unwrap();
            seen.push(body[0]);
            stream.write_all(&length).await.unwrap();
            stream.write_all(&body).await.unwrap();
        }
        seen
    }

    fn message(kind: u8, rest: &[u8]) -> Vec<u8> {
        let length = u32::try_from(1 + rest.len()).unwrap();
        [&length.to_be_bytes()[..], &[kind], rest].concat()
    }

    #[tokio::test]
    async fn step_may_list_and_sign_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("agent");
        let agent = echo(UnixListener::bind(&socket).unwrap());
        let source = SshSource { socket, raw: false };
        let client = async {
            let SshConnection {
                mut sink,
                mut source,
            } = ClientSocket::new(&source).connect().await.unwrap();
            // Adding a key (17) and removing all (19) among what is allowed, cut at odd places.
            let all = [
                message(11, b""),
                message(17, b"key"),
                message(13, b"data"),
                message(19, b""),
            ]
            .concat();
            for chunk in all.chunks(3) {
                sink.send(Bytes::copy_from_slice(chunk)).await.unwrap();
            }
            sink.finish().await.unwrap();
            let mut answers = Vec::new();
            while let Some(answer) = source.receive().await.unwrap() {
                answers.push(answer[4]);
            }
            answers
        };
        let (seen, answers) = tokio::join!(agent, client);
        assert_eq!(seen, [11, 13]);
        assert_eq!(answers, [11, 5, 13, 5]);
    }

    #[tokio::test]
    async fn endless_message_is_refused() {
        let mut unread = BytesMut::from(&[0xff, 0xff, 0xff, 0xff, 11][..]);
        assert!(take_message(&mut unread).is_err());
    }
}
