//! Objects that are too large for one request.

use std::fmt::Write as _;

use cooper_core::model::{Failure, FailureKind};
use cooper_proto::Algorithm;
use reqwest::{Method, Response, header::ETAG};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::{
    cache::Layer,
    http::{Payload, name, tag},
    s3::{S3, well},
};
use crate::exporter::unwritten;

/// Longer files are sent in parts of this length, or of more where there would be too many.
///
/// # Units
/// Bytes.
const PART: u64 = 32 << 20;

/// How many parts an object may have.
const PARTS: u64 = 10_000;

/// The length from which an object is not copied in one request.
///
/// # Units
/// Bytes.
pub(super) const MOST_IN_ONE_COPY: u64 = 5 << 30;

/// The SHA-256 of nothing.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What parts are made of.
enum Parts<'a> {
    Layer(&'a Layer),
    /// An object that is there, by its bucket and key.
    Copy(&'a str),
}

impl S3 {
    /// Puts a layer there.
    pub(super) async fn put_file(&self, layer: &Layer) -> Result<(), Failure> {
        let key = self.blob_key(&layer.digest);
        if layer.size <= PART * 2 {
            let payload = Payload::File {
                path: layer.path.clone(),
                start: 0,
                length: layer.size,
            };
            let hash = match layer.digest.algorithm() {
                Algorithm::Sha256 => layer.digest.hex().to_owned(),
                _ => digest_of_part(layer, 0, layer.size).await?,
            };
            let sent = self.send(Method::PUT, (&key, ""), &[], (payload, &hash));
            return well(sent.await?).await.map(drop);
        }
        self.in_parts(&key, layer.size, PART, &Parts::Layer(layer))
            .await
    }

    /// Copies an object onto itself in parts.
    pub(super) async fn touch_in_parts(
        &self,
        key: &str,
        source: &str,
        size: u64,
    ) -> Result<(), Failure> {
        self.in_parts(key, size, MOST_IN_ONE_COPY / 2, &Parts::Copy(source))
            .await
    }

    /// Puts one part there and gives its tag.
    async fn put_part(
        &self,
        (key, query): (&str, &str),
        parts: &Parts<'_>,
        (start, length): (u64, u64),
    ) -> Result<String, Failure> {
        match parts {
            Parts::Layer(layer) => {
                let payload = Payload::File {
                    path: layer.path.clone(),
                    start,
                    length,
                };
                let hash = digest_of_part(layer, start, length).await?;
                let sent = self.send(Method::PUT, (key, query), &[], (payload, &hash));
                let response = sent.await?;
                let tag = etag(&response);
                well(response).await?;
                tag
            }
            Parts::Copy(source) => {
                let range = format!("bytes={start}-{}", start + length - 1);
                let more = [
                    (name("x-amz-copy-source"), (*source).to_owned()),
                    (name("x-amz-copy-source-range"), range),
                ];
                let nothing = (Payload::Nothing, EMPTY);
                let sent = self.send(Method::PUT, (key, query), &more, nothing);
                let text = well(sent.await?).await?;
                let tag = tag(&text, "ETag").ok_or_else(|| incomplete("ETag"))?;
                Ok(tag.replace("&quot;", "\""))
            }
        }
    }

    /// Makes an object of parts. What began and does not end well is taken back.
    async fn in_parts(
        &self,
        key: &str,
        size: u64,
        least: u64,
        of: &Parts<'_>,
    ) -> Result<(), Failure> {
        let begun = self.send(
            Method::POST,
            (key, "uploads="),
            &[],
            (Payload::Nothing, EMPTY),
        );
        let begun = well(begun.await?).await?;
        let upload = tag(&begun, "UploadId").ok_or_else(|| incomplete("UploadId"))?;
        let upload = super::attributes::escaped(&upload.replace("&amp;", "&"), '-');
        let parts = async {
            let part = least.max(size.div_ceil(PARTS));
            let mut list = String::from("<CompleteMultipartUpload>");
            let (mut start, mut number) = (0, 0);
            while start < size {
                let length = part.min(size - start);
                number += 1;
                let query = format!("partNumber={number}&uploadId={upload}");
                let tag = self.put_part((key, &query), of, (start, length)).await?;
                // Writing to a text cannot fail.
                let _written = write!(
                    list,
                    "<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"
                );
                start += length;
            }
            list.push_str("</CompleteMultipartUpload>");
            let hash = hex::encode(Sha256::digest(&list));
            let query = format!("uploadId={upload}");
            let payload = (Payload::Bytes(list.into()), hash.as_str());
            let sent = self.send(Method::POST, (key, &query), &[], payload).await?;
            well(sent).await.map(drop)
        };
        let ended = parts.await;
        if ended.is_err() {
            let query = format!("uploadId={upload}");
            let sent = self.send(
                Method::DELETE,
                (key, &query),
                &[],
                (Payload::Nothing, EMPTY),
            );
            if let Err(failure) = sent.await {
                tracing::warn!(%failure, key, "parts of an object are left behind");
            }
        }
        ended
    }
}

fn etag(response: &Response) -> Result<String, Failure> {
    let tag = response.headers().get(ETAG);
    let tag = tag.and_then(|tag| tag.to_str().ok());
    tag.map(str::to_owned).ok_or_else(|| incomplete("ETag"))
}

fn incomplete(what: &str) -> Failure {
    let told = format!("the store of the cache gave no {what}");
    Failure::new(FailureKind::Infrastructure, told)
}

/// The SHA-256 of a part of a file, in hex.
async fn digest_of_part(layer: &Layer, start: u64, length: u64) -> Result<String, Failure> {
    let file = tokio::fs::File::open(&layer.path).await;
    let mut file = file.map_err(unwritten)?;
    file.seek(std::io::SeekFrom::Start(start))
        .await
        .map_err(unwritten)?;
    let mut part = file.take(length);
    let (mut hasher, mut bytes) = (Sha256::new(), vec![0; 256 << 10]);
    loop {
        let read = part.read(&mut bytes).await.map_err(unwritten)?;
        if read == 0 {
            return Ok(hex::encode(hasher.finalize()));
        }
        hasher.update(&bytes[..read]);
    }
}
