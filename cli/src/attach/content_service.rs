use std::pin::Pin;

use cooper_core::ports::{ClientContent, ContentReader, ContentWriter, Session};
use cooper_engine::server::status_from_failure;
use cooper_proto::Digest;
use cooper_proto::content::content_server::Content;
use cooper_proto::content::{
    AbortRequest, DeleteContentRequest, Info, InfoRequest, InfoResponse, ListContentRequest,
    ListContentResponse, ListStatusesRequest, ListStatusesResponse, ReadContentRequest,
    ReadContentResponse, StatusRequest, StatusResponse, UpdateRequest, UpdateResponse, WriteAction,
    WriteContentRequest, WriteContentResponse,
};
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::services::SessionServices;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl SessionServices {
    /// The store that a call names.
    async fn store(&self, metadata: &MetadataMap) -> Result<Box<dyn ClientContent>, Status> {
        let name = metadata.get("buildkit-attachable-store-id");
        let name = name.and_then(|name| name.to_str().ok()).unwrap_or_default();
        let store = self.session.content(name).await;
        store.map_err(|failure| status_from_failure(&failure))
    }
}

fn digest(text: &str) -> Result<Digest, Status> {
    text.parse()
        .map_err(|error| Status::invalid_argument(format!("{text:?}: {error}")))
}

fn length(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

#[tonic::async_trait]
impl Content for SessionServices {
    type ListStream = Answers<ListContentResponse>;
    type ReadStream = Answers<ReadContentResponse>;
    type WriteStream = Answers<WriteContentResponse>;

    async fn info(&self, request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        let store = self.store(request.metadata()).await?;
        let digest = digest(&request.get_ref().digest)?;
        let size = store.size(&digest).await;
        match size.map_err(|failure| status_from_failure(&failure))? {
            Some(size) => Ok(Response::new(InfoResponse {
                info: Some(Info {
                    digest: digest.to_string(),
                    size: length(size),
                    ..Info::default()
                }),
            })),
            None => Err(Status::not_found(format!("content {digest}: not found"))),
        }
    }

    async fn read(
        &self,
        request: Request<ReadContentRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let store = self.store(request.metadata()).await?;
        let asked = request.into_inner();
        if asked.offset < 0 || asked.size < 0 {
            return Err(Status::invalid_argument(
                "a part before the start of a blob",
            ));
        }
        let reader = store.read(&digest(&asked.digest)?).await;
        let reader = reader.map_err(|failure| status_from_failure(&failure))?;
        let end = match asked.size {
            0 => i64::MAX,
            size => asked.offset.saturating_add(size),
        };
        let parts = futures::stream::try_unfold((reader, 0), move |(mut reader, at)| async move {
            part(&mut *reader, at, asked.offset, end)
                .await
                .map(|found| found.map(|(answer, at)| (answer, (reader, at))))
        });
        Ok(Response::new(parts.boxed()))
    }

    async fn write(
        &self,
        request: Request<Streaming<WriteContentRequest>>,
    ) -> Result<Response<Self::WriteStream>, Status> {
        let store = self.store(request.metadata()).await?;
        let (answers, answered) = mpsc::channel(1);
        let messages = request.into_inner();
        self.transfers.spawn(async move {
            if let Err(status) = write(store, messages, &answers).await {
                // A daemon that is gone needs no answer.
                let _unheard = answers.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(answered).boxed()))
    }

    // Daemons use these for nothing in a session.

    async fn update(&self, _: Request<UpdateRequest>) -> Result<Response<UpdateResponse>, Status> {
        Err(Status::unimplemented("Update is not supported"))
    }

    async fn list(
        &self,
        _: Request<ListContentRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        Err(Status::unimplemented("List is not supported"))
    }

    async fn delete(&self, _: Request<DeleteContentRequest>) -> Result<Response<()>, Status> {
        Err(Status::unimplemented("Delete is not supported"))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        Err(Status::not_found("no write is under way"))
    }

    async fn list_statuses(
        &self,
        _: Request<ListStatusesRequest>,
    ) -> Result<Response<ListStatusesResponse>, Status> {
        Ok(Response::new(ListStatusesResponse::default()))
    }

    async fn abort(&self, _: Request<AbortRequest>) -> Result<Response<()>, Status> {
        Err(Status::not_found("no write is under way"))
    }
}

/// The next part of a blob between two positions, and where it ends.
async fn part(
    reader: &mut dyn ContentReader,
    mut at: i64,
    from: i64,
    end: i64,
) -> Result<Option<(ReadContentResponse, i64)>, Status> {
    loop {
        let read = reader.next().await;
        let Some(mut data) = read.map_err(|failure| status_from_failure(&failure))? else {
            return Ok(None);
        };
        let (start, stop) = (at, at.saturating_add(length(data.len() as u64)));
        at = stop;
        let skipped = usize::try_from((from - start).max(0)).unwrap_or(usize::MAX);
        let beyond = usize::try_from((stop - end).max(0)).unwrap_or(usize::MAX);
        data.truncate(data.len().saturating_sub(beyond));
        if skipped >= data.len() {
            if stop >= end {
                return Ok(None);
            }
            continue;
        }
        let data = data.split_off(skipped);
        let offset = start.max(from);
        return Ok(Some((ReadContentResponse { offset, data }, at)));
    }
}

async fn write(
    store: Box<dyn ClientContent>,
    mut messages: Streaming<WriteContentRequest>,
    answers: &mpsc::Sender<Result<WriteContentResponse, Status>>,
) -> Result<(), Status> {
    let mut writer: Option<Box<dyn ContentWriter>> = None;
    let mut offset = 0;
    while let Some(message) = messages.message().await? {
        let action = message.action();
        let open = match writer.take() {
            Some(open) => open,
            None => {
                let digest = digest(&message.expected)?;
                let size = u64::try_from(message.total).unwrap_or(0);
                let opened = store.write(&digest, size).await;
                opened
                    .map_err(|failure| status_from_failure(&failure))?
                    .ok_or_else(|| {
                        Status::already_exists(format!("content {digest}: already exists"))
                    })?
            }
        };
        let mut open = open;
        if !message.data.is_empty() {
            if message.offset != offset {
                return Err(Status::out_of_range(format!(
                    "the write is at {offset} and not at {}",
                    message.offset
                )));
            }
            offset += length(message.data.len() as u64);
            let written = open.write(message.data).await;
            written.map_err(|failure| status_from_failure(&failure))?;
        }
        let mut answer = WriteContentResponse {
            action: action.into(),
            offset,
            total: message.total,
            ..WriteContentResponse::default()
        };
        if action == WriteAction::Commit {
            let committed = open.commit().await;
            committed.map_err(|failure| status_from_failure(&failure))?;
            answer.digest = message.expected;
            let _unheard = answers.send(Ok(answer)).await;
            return Ok(());
        }
        writer = Some(open);
        if answers.send(Ok(answer)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
