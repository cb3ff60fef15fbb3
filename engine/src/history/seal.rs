//! What the content store keeps of a build.

use std::collections::BTreeMap;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use cooper_core::model::Failure;
use cooper_core::ports::{BlobInfo, Blobs, ExportResponse, Pieces};
use cooper_proto::oci::Descriptor;
use futures::StreamExt;
use prost::Message;

use super::record::RecordedBlob;
use super::{Record, trace};
use crate::progress::StatusStream;
use crate::server::status_from_failure;

/// Media type of progress: messages, each after its length in four bytes, the lowest first.
const STATUS: &str = "application/vnd.buildkit.status.v0";

/// Media type of an error with its details (spelled so on the wire).
const ERROR: &str = "application/vnd.googeapis.google.rpc.status+proto";

/// Media type of a predicate, and the annotation that says which kind it is.
const PREDICATE: &str = "application/vnd.in-toto+json";
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";

/// Keeps why a build failed.
pub(super) async fn keep_error(
    blobs: &dyn Blobs,
    holder: &str,
    failure: &Failure,
) -> Result<RecordedBlob, Failure> {
    let status = Bytes::copy_from_slice(status_from_failure(failure).details());
    Ok(recorded(
        ERROR,
        blobs.keep(holder, Box::new(Some(status))).await?,
    ))
}

/// Keeps where a result came from.
pub(super) async fn keep_provenance(
    blobs: &dyn Blobs,
    holder: &str,
    predicate_type: &str,
    predicate: Bytes,
) -> Result<RecordedBlob, Failure> {
    let kept = blobs.keep(holder, Box::new(Some(predicate))).await?;
    let annotation = (PREDICATE_TYPE.to_owned(), predicate_type.to_owned());
    Ok(RecordedBlob {
        annotations: [annotation].into(),
        ..recorded(PREDICATE, kept)
    })
}

/// Keeps the documents of the images that exporters made.
///
/// An image that is no longer there has nothing to keep.
pub(super) async fn hold_results(
    blobs: &dyn Blobs,
    holder: &str,
    exported: &BTreeMap<u32, ExportResponse>,
) -> BTreeMap<u32, RecordedBlob> {
    let mut results = BTreeMap::new();
    for (index, response) in exported {
        let Some(descriptor) = descriptor(response) else {
            continue;
        };
        match blobs.hold(holder, &descriptor).await {
            Ok(()) => drop(results.insert(
                *index,
                RecordedBlob {
                    media_type: descriptor.media_type,
                    digest: descriptor.digest.to_string(),
                    size: descriptor.size,
                    annotations: descriptor.annotations,
                },
            )),
            Err(failure) => {
                tracing::debug!(%failure, "an exported image is not kept for the history")
            }
        }
    }
    results
}

fn descriptor(response: &ExportResponse) -> Option<Descriptor> {
    let text = response.get("containerimage.descriptor")?;
    serde_json::from_slice(&STANDARD.decode(text).ok()?).ok()
}

/// Keeps a build's progress.
pub(super) async fn keep_logs(
    blobs: &dyn Blobs,
    holder: &str,
    progress: StatusStream,
) -> Result<RecordedBlob, Failure> {
    let pieces = Box::new(Framed(progress));
    Ok(recorded(STATUS, blobs.keep(holder, pieces).await?))
}

/// Keeps a build's trace.
pub(super) async fn keep_trace(
    blobs: &dyn Blobs,
    holder: &str,
    record: &Record,
) -> Result<RecordedBlob, Failure> {
    let spans = Bytes::from(trace::spans(record, env!("CARGO_PKG_VERSION")));
    let kept = blobs.keep(holder, Box::new(Some(spans))).await?;
    Ok(recorded(trace::MEDIA_TYPE, kept))
}

fn recorded(media_type: &str, kept: BlobInfo) -> RecordedBlob {
    RecordedBlob {
        media_type: media_type.to_owned(),
        digest: kept.digest.to_string(),
        size: kept.size,
        annotations: BTreeMap::new(),
    }
}

struct Framed(StatusStream);

#[async_trait]
impl Pieces for Framed {
    async fn piece(&mut self) -> Result<Option<Bytes>, Failure> {
        let Some(message) = self.0.next().await.transpose()? else {
            return Ok(None);
        };
        let length = message.encoded_len();
        let mut piece = BytesMut::with_capacity(4 + length);
        piece.put_u32_le(u32::try_from(length).unwrap_or(u32::MAX));
        piece.extend(message.encode_to_vec());
        Ok(Some(piece.freeze()))
    }
}
