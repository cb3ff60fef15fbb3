use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::{ClientContent, ContentReader, ContentWriter};
use cooper_proto::content::content_client::ContentClient;
use cooper_proto::content::{
    InfoRequest, ReadContentRequest, ReadContentResponse, WriteAction, WriteContentRequest,
    WriteContentResponse,
};
use cooper_proto::{Digest, MAX_MESSAGE_BYTES};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Request, Streaming};

use crate::server::status::failure_from_status;

/// Header that says which of a client's stores is meant (parity sheet D).
pub(super) const STORE: &str = "buildkit-attachable-store-id";

/// One method of the service: a client that has it has the others.
pub(super) const METHOD: &str = "/containerd.services.content.v1.Content/Info";

/// A content store at the other end of a connection.
pub(super) struct RemoteContent {
    client: ContentClient<Channel>,
    metadata: MetadataMap,
}

impl RemoteContent {
    /// The store that the metadata names.
    pub(super) fn new(channel: Channel, metadata: MetadataMap) -> Self {
        let client = ContentClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Self { client, metadata }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.metadata.clone();
        request
    }
}

#[async_trait]
impl ClientContent for RemoteContent {
    async fn size(&self, digest: &Digest) -> Result<Option<u64>, Failure> {
        let request = self.request(InfoRequest {
            digest: digest.to_string(),
        });
        match self.client.clone().info(request).await {
            Ok(answer) => {
                let size = answer.into_inner().info.map(|info| info.size);
                Ok(size.and_then(|size| u64::try_from(size).ok()))
            }
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(failure_from_status(&status)),
        }
    }

    async fn read(&self, digest: &Digest) -> Result<Box<dyn ContentReader>, Failure> {
        let request = self.request(ReadContentRequest {
            digest: digest.to_string(),
            ..ReadContentRequest::default()
        });
        let answer = self.client.clone().read(request).await;
        let stream = answer.map_err(|status| failure_from_status(&status))?;
        Ok(Box::new(Reading(stream.into_inner())))
    }

    async fn write(
        &self,
        digest: &Digest,
        size: u64,
    ) -> Result<Option<Box<dyn ContentWriter>>, Failure> {
        if self.size(digest).await?.is_some() {
            return Ok(None);
        }
        let (outgoing, messages) = mpsc::channel(1);
        let total = i64::try_from(size).unwrap_or(i64::MAX);
        let first = WriteContentRequest {
            action: WriteAction::Stat.into(),
            r#ref: format!("cooper-{digest}"),
            total,
            expected: digest.to_string(),
            ..WriteContentRequest::default()
        };
        outgoing.send(first).await.map_err(|_| gone())?;
        let request = self.request(ReceiverStream::new(messages));
        let incoming = match self.client.clone().write(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) if status.code() == Code::AlreadyExists => return Ok(None),
            Err(status) => return Err(failure_from_status(&status)),
        };
        let mut writing = Writing {
            outgoing,
            incoming,
            digest: digest.clone(),
            total,
            offset: 0,
            skip: 0,
        };
        match writing.answer().await? {
            // An earlier write that broke off left a beginning.
            Some(answer) => writing.skip = answer.offset,
            None => return Ok(None),
        }
        Ok(Some(Box::new(writing)))
    }
}

struct Reading(Streaming<ReadContentResponse>);

#[async_trait]
impl ContentReader for Reading {
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let message = self.0.message().await;
        let message = message.map_err(|status| failure_from_status(&status))?;
        Ok(message.map(|message| message.data))
    }
}

struct Writing {
    outgoing: mpsc::Sender<WriteContentRequest>,
    incoming: Streaming<WriteContentResponse>,
    digest: Digest,
    total: i64,
    /// Where in the blob the next byte of ours is.
    offset: i64,
    /// Bytes that the client has already.
    skip: i64,
}

impl Writing {
    /// The answer to a message; nothing when the client has the blob already.
    async fn answer(&mut self) -> Result<Option<WriteContentResponse>, Failure> {
        match self.incoming.message().await {
            Ok(Some(answer)) => Ok(Some(answer)),
            Ok(None) => Err(gone()),
            Err(status) if status.code() == Code::AlreadyExists => Ok(None),
            Err(status) => Err(failure_from_status(&status)),
        }
    }

    async fn send(
        &mut self,
        action: WriteAction,
        data: Bytes,
    ) -> Result<Option<WriteContentResponse>, Failure> {
        let message = WriteContentRequest {
            action: action.into(),
            total: self.total,
            expected: self.digest.to_string(),
            offset: self.offset,
            data,
            ..WriteContentRequest::default()
        };
        match self.outgoing.send(message).await {
            Ok(()) => self.answer().await,
            Err(_) => Err(gone()),
        }
    }
}

#[async_trait]
impl ContentWriter for Writing {
    async fn write(&mut self, mut part: Bytes) -> Result<(), Failure> {
        let length = i64::try_from(part.len()).unwrap_or(i64::MAX);
        let known = (self.skip - self.offset).clamp(0, length);
        part = part.split_off(usize::try_from(known).unwrap_or(0));
        self.offset += known;
        if part.is_empty() {
            return Ok(());
        }
        let sent = length - known;
        self.send(WriteAction::Write, part).await?;
        self.offset += sent;
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<(), Failure> {
        self.send(WriteAction::Commit, Bytes::new()).await.map(drop)
    }
}

fn gone() -> Failure {
    Failure::new(
        FailureKind::Infrastructure,
        "the client's content store went away",
    )
}
