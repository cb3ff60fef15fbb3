use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::{ChunkSink, ChunkSource, PacketStream};
use cooper_proto::MAX_MESSAGE_BYTES;
use cooper_proto::filesync::BytesMessage;
use cooper_proto::fsutil::Packet;
use cooper_proto::fsutil::packet::PacketType;
use futures::future::BoxFuture;
use http::uri::PathAndQuery;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::server::status::failure_from_status;

/// Messages on their way before the sender has to wait.
const MESSAGES: usize = 8;

/// The longest chunk that clients take (parity sheet D: at most 3 MiB).
const CHUNK: usize = 1 << 20;

/// A call in which both sides send messages of one type.
///
/// A client may send its headers only with its first message, and that may come only after ours. So the call's start is
/// waited for beside the sending, never before it.
pub(super) struct Conversation<M> {
    /// `None` once this side has said all.
    outgoing: Option<mpsc::Sender<M>>,
    incoming: Incoming<M>,
    /// The code with which the other side ended the call, if it was not well.
    ended: Option<Code>,
}

enum Incoming<M> {
    Opening(BoxFuture<'static, Result<Streaming<M>, Status>>),
    Open(Box<Streaming<M>>),
    Over,
}

impl<M: Message + Default + 'static> Conversation<M> {
    /// Prepares a call; it begins with the first message that is sent or waited for.
    pub(super) fn begin(channel: Channel, path: &'static str, metadata: MetadataMap) -> Self {
        let (outgoing, messages) = mpsc::channel(MESSAGES);
        let opening = async move {
            let mut client = Grpc::new(channel)
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES);
            client
                .ready()
                .await
                .map_err(|error| Status::unavailable(format!("the session is over: {error}")))?;
            let mut request = Request::new(ReceiverStream::new(messages));
            *request.metadata_mut() = metadata;
            let path = PathAndQuery::from_static(path);
            let codec: ProstCodec<M, M> = ProstCodec::default();
            let answer = client.streaming(request, path, codec).await?;
            Ok(answer.into_inner())
        };
        Self {
            outgoing: Some(outgoing),
            incoming: Incoming::Opening(Box::pin(opening)),
            ended: None,
        }
    }

    /// The way out, for who sends beside who listens; this side then says nothing by itself.
    pub(super) fn take_outgoing(&mut self) -> Option<mpsc::Sender<M>> {
        self.outgoing.take()
    }

    /// The same call, in which this side says nothing.
    pub(super) fn listening(mut self) -> Self {
        self.outgoing = None;
        self
    }

    /// Sends a message, waiting while the other side is behind.
    async fn send(&mut self, message: M) -> Result<(), Failure> {
        let Some(outgoing) = self.outgoing.clone() else {
            return Err(over());
        };
        while let Incoming::Opening(opening) = &mut self.incoming {
            tokio::select! {
                biased;
                opened = opening => self.opened(opened)?,
                room = outgoing.reserve() => {
                    if let Ok(room) = room {
                        room.send(message);
                        return Ok(());
                    }
                    // The call ended before it took everything; its status says why.
                    break;
                }
            }
        }
        let Err(_) = outgoing.send(message).await else {
            return Ok(());
        };
        match self.receive().await {
            Err(failure) => Err(failure),
            Ok(_) => Err(over()),
        }
    }

    /// The next message, `None` when the other side has said all.
    pub(super) async fn receive(&mut self) -> Result<Option<M>, Failure> {
        loop {
            match &mut self.incoming {
                Incoming::Opening(opening) => {
                    let opened = opening.await;
                    self.opened(opened)?;
                }
                Incoming::Open(streaming) => {
                    let next = streaming.message().await;
                    if !matches!(next, Ok(Some(_))) {
                        self.incoming = Incoming::Over;
                    }
                    return next.map_err(|status| self.ended_with(&status));
                }
                Incoming::Over => return Ok(None),
            }
        }
    }

    fn ended_with(&mut self, status: &Status) -> Failure {
        self.ended = Some(status.code());
        failure_from_status(status)
    }

    fn opened(&mut self, opened: Result<Streaming<M>, Status>) -> Result<(), Failure> {
        self.incoming = Incoming::Over;
        let streaming = opened.map_err(|status| self.ended_with(&status))?;
        self.incoming = Incoming::Open(Box::new(streaming));
        Ok(())
    }
}

pub(super) fn over() -> Failure {
    Failure::new(
        FailureKind::Infrastructure,
        "the client ended the transfer before it was complete",
    )
}

/// A DiffCopy conversation.
pub(super) struct Packets(pub(super) Conversation<Packet>);

#[async_trait]
impl PacketStream for Packets {
    async fn send(&mut self, packet: Packet) -> Result<(), Failure> {
        let last = packet.r#type == PacketType::PacketFin as i32;
        self.0.send(packet).await?;
        if last {
            // Neither role says anything after its FIN. A client that returns while this side is open resets the
            // stream, and that would look like a failure.
            self.0.outgoing = None;
        }
        Ok(())
    }

    async fn receive(&mut self) -> Result<Option<Packet>, Failure> {
        self.0.receive().await
    }
}

/// A one-way transfer of bytes.
pub(super) struct Chunks(pub(super) Conversation<BytesMessage>);

impl Chunks {
    /// Whether the client says that it has what it is sent. That is no failure (parity sheet D).
    fn is_refused(&self) -> bool {
        self.0.ended == Some(Code::AlreadyExists)
    }

    fn unless_refused<T>(&self, result: Result<T, Failure>) -> Result<Option<T>, Failure> {
        match result {
            Err(_) if self.is_refused() => Ok(None),
            result => result.map(Some),
        }
    }
}

#[async_trait]
impl ChunkSink for Chunks {
    async fn send(&mut self, chunk: Bytes) -> Result<(), Failure> {
        let mut rest = chunk;
        while !rest.is_empty() && !self.is_refused() {
            let data = rest.split_to(rest.len().min(CHUNK));
            let sent = self.0.send(BytesMessage { data }).await;
            self.unless_refused(sent)?;
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), Failure> {
        self.0.outgoing = None;
        loop {
            let received = self.0.receive().await.map(|message| message.is_some());
            match self.unless_refused(received)? {
                Some(true) => {}
                Some(false) | None => return Ok(()),
            }
        }
    }
}

/// What a client uploads, in one-way messages of bytes.
pub(super) struct Upload(pub(super) Conversation<BytesMessage>);

#[async_trait]
impl ChunkSource for Upload {
    async fn receive(&mut self) -> Result<Option<Bytes>, Failure> {
        Ok(self.0.receive().await?.map(|message| message.data))
    }
}
