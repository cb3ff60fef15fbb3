use std::borrow::Cow;
use std::sync::Arc;

use cooper_core::filters::Fields;
use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::{BlobInfo, Blobs};
use cooper_proto::Digest;
use cooper_proto::content::content_server::Content;
use cooper_proto::content::{
    AbortRequest, DeleteContentRequest, Info, InfoRequest, InfoResponse, ListContentRequest,
    ListContentResponse, ListStatusesRequest, ListStatusesResponse, ReadContentRequest,
    ReadContentResponse, StatusRequest, StatusResponse, UpdateRequest, UpdateResponse,
    WriteContentRequest, WriteContentResponse,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use tonic::{Code, Request, Response, Status, Streaming, async_trait};

use super::status::refusal;
use super::{status_from_failure, usage};
use crate::Engine;
use crate::progress::timestamp;

/// Bytes of one message.
const CHUNK: u64 = 1 << 20;

/// Blobs described in one message.
const INFOS: usize = 100;

type Answers<T> = BoxStream<'static, Result<T, Status>>;

/// `containerd.services.content.v1.Content` of what the worker keeps, to read.
#[derive(Debug)]
pub(super) struct ContentService {
    engine: Engine,
}

impl ContentService {
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine }
    }

    fn blobs(&self) -> Arc<dyn Blobs> {
        Arc::clone(&self.engine.parts().blobs)
    }

    async fn find(&self, digest: &Digest) -> Result<BlobInfo, Failure> {
        self.blobs().find(digest).await?.ok_or_else(|| {
            Failure::new(
                FailureKind::NotFound,
                format!("content {digest}: not found"),
            )
        })
    }

    async fn part(&self, request: &ReadContentRequest) -> Result<Part, Failure> {
        let digest = digest_of(&request.digest)?;
        let blob = self.find(&digest).await?;
        let out_of_range = || {
            Failure::new(
                FailureKind::InvalidInput,
                format!(
                    "{} bytes from {} on are not in a blob of {} bytes",
                    request.size, request.offset, blob.size
                ),
            )
        };
        let begin = u64::try_from(request.offset).map_err(|_| out_of_range())?;
        let end = match u64::try_from(request.size).map_err(|_| out_of_range())? {
            0 => blob.size,
            size => begin.saturating_add(size),
        };
        if begin > blob.size || end > blob.size {
            return Err(out_of_range());
        }
        Ok(Part {
            blobs: self.blobs(),
            digest,
            next: begin,
            end,
        })
    }
}

/// A part of a blob that is still to be sent.
struct Part {
    blobs: Arc<dyn Blobs>,
    digest: Digest,
    next: u64,
    end: u64,
}

impl Part {
    async fn chunk(&mut self) -> Result<Option<ReadContentResponse>, Failure> {
        if self.next >= self.end {
            return Ok(None);
        }
        let length = (self.end - self.next).min(CHUNK);
        let data = self.blobs.read(&self.digest, self.next, length).await?;
        if data.is_empty() {
            return Err(Failure::new(
                FailureKind::Infrastructure,
                format!("content {} is shorter than it was", self.digest),
            ));
        }
        let offset = i64::try_from(self.next).unwrap_or(i64::MAX);
        self.next += data.len() as u64;
        Ok(Some(ReadContentResponse { offset, data }))
    }
}

fn digest_of(text: &str) -> Result<Digest, Failure> {
    text.parse()
        .map_err(|error| Failure::new(FailureKind::InvalidInput, format!("{text:?}: {error}")))
}

fn to_wire(blob: &BlobInfo) -> Info {
    Info {
        digest: blob.digest.to_string(),
        size: i64::try_from(blob.size).unwrap_or(i64::MAX),
        created_at: Some(timestamp(blob.stored_ns)),
        updated_at: Some(timestamp(blob.stored_ns)),
        ..Info::default()
    }
}

struct BlobFields<'a>(&'a BlobInfo);

impl Fields for BlobFields<'_> {
    fn field(&self, path: &[String]) -> Option<Cow<'_, str>> {
        match path.first()?.as_str() {
            "digest" => Some(self.0.digest.as_str().into()),
            "size" => Some(self.0.size.to_string().into()),
            _ => None,
        }
    }
}

fn read_only() -> Status {
    Status::permission_denied("read-only content store")
}

fn status(failure: Failure) -> Status {
    status_from_failure(&failure)
}

#[async_trait]
impl Content for ContentService {
    type ListStream = Answers<ListContentResponse>;
    type ReadStream = Answers<ReadContentResponse>;
    type WriteStream = Answers<WriteContentResponse>;

    async fn info(&self, request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        let digest = digest_of(&request.into_inner().digest).map_err(status)?;
        let blob = self.find(&digest).await.map_err(status)?;
        Ok(Response::new(InfoResponse {
            info: Some(to_wire(&blob)),
        }))
    }

    async fn list(
        &self,
        request: Request<ListContentRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let filters = usage::filters(&request.into_inner().filters).map_err(status)?;
        let blobs = self.blobs().list().await.map_err(status)?;
        let wanted: Vec<_> = blobs
            .iter()
            .filter(|blob| filters.take(&BlobFields(blob)))
            .map(to_wire)
            .collect();
        let messages: Vec<_> = wanted
            .chunks(INFOS)
            .map(|info| {
                Ok(ListContentResponse {
                    info: info.to_vec(),
                })
            })
            .collect();
        Ok(Response::new(futures::stream::iter(messages).boxed()))
    }

    async fn read(
        &self,
        request: Request<ReadContentRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let part = self.part(&request.into_inner()).await.map_err(status)?;
        let chunks = futures::stream::try_unfold(part, |mut part| async move {
            let chunk = part.chunk().await.map_err(status)?;
            Ok(chunk.map(|chunk| (chunk, part)))
        });
        Ok(Response::new(chunks.boxed()))
    }

    async fn update(&self, _: Request<UpdateRequest>) -> Result<Response<UpdateResponse>, Status> {
        Err(read_only())
    }

    async fn delete(&self, _: Request<DeleteContentRequest>) -> Result<Response<()>, Status> {
        Err(read_only())
    }

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        // Nothing is ever being written over this service.
        let name = request.into_inner().r#ref;
        let words = format!("no write {name:?} is under way");
        Err(refusal(Code::NotFound, &words))
    }

    async fn list_statuses(
        &self,
        _: Request<ListStatusesRequest>,
    ) -> Result<Response<ListStatusesResponse>, Status> {
        Ok(Response::new(ListStatusesResponse::default()))
    }

    async fn write(
        &self,
        _: Request<Streaming<WriteContentRequest>>,
    ) -> Result<Response<Self::WriteStream>, Status> {
        Err(read_only())
    }

    async fn abort(&self, _: Request<AbortRequest>) -> Result<Response<()>, Status> {
        Err(read_only())
    }
}
