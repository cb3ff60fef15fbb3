use std::path::PathBuf;

use bytes::Bytes;
use cooper_proto::Digest;
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{
        CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RANGE,
    },
};

use super::{
    DistributionError, Repository, RepositoryName,
    client::Endpoint,
    error::redact,
    transport::{Call, Payload},
};

/// A blob on our disk that a registry should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobFile {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The file with its bytes.
    pub path: PathBuf,
}

/// How a registry came to have a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It had it.
    Existed,
    /// It took it over from another of its repositories.
    Mounted,
    /// We sent it.
    Uploaded,
}

/// Where an upload continues.
struct Upload {
    location: Url,
    at: u64,
}

impl Repository {
    /// Whether the repository has the blob.
    ///
    /// # Errors
    /// When the registry does not say.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, DistributionError> {
        self.has(&format!("blobs/{digest}")).await
    }

    /// Whether the repository has the manifest of a tag or digest.
    ///
    /// # Errors
    /// When the registry does not say.
    pub async fn has_manifest(&self, reference: &str) -> Result<bool, DistributionError> {
        self.has(&format!("manifests/{reference}")).await
    }

    async fn has(&self, rest: &str) -> Result<bool, DistributionError> {
        let endpoint = self.origin();
        let _place = endpoint.host.small.acquire().await;
        let make = |endpoint: &Endpoint| {
            let mut call = Call::new(Method::HEAD, endpoint.url(rest)?);
            call.accept = &[StatusCode::NOT_FOUND];
            call.headers.insert(
                reqwest::header::ACCEPT,
                HeaderValue::from_static("*/*, application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json"),
            );
            Ok(call)
        };
        let (_, response) = self.reached(endpoint, make).await?;
        Ok(response.status().is_success())
    }

    /// Asks the registry to take a blob over from one of its other repositories. `false`
    /// when it does not.
    ///
    /// # Errors
    /// When the registry fails at it.
    pub async fn mount_blob(
        &self,
        digest: &Digest,
        from: &RepositoryName,
    ) -> Result<bool, DistributionError> {
        let endpoint = self.origin();
        let _place = endpoint.host.small.acquire().await;
        let make = |endpoint: &Endpoint| {
            let mut url = endpoint.url("blobs/uploads/")?;
            url.query_pairs_mut()
                .append_pair("mount", digest.as_str())
                .append_pair("from", &from.path);
            let mut call = Call::new(Method::POST, url);
            call.accept = &[StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED];
            Ok(call)
        };
        let (call, response) = match self.reached(endpoint, make).await {
            Ok(answered) => answered,
            // No leave to read the other repository: the blob is sent instead.
            Err(DistributionError::Unauthorized { .. }) => return Ok(false),
            Err(DistributionError::Status { status, .. })
                if status == StatusCode::FORBIDDEN || status == StatusCode::BAD_REQUEST =>
            {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        if response.status() == StatusCode::CREATED {
            return Ok(true);
        }
        if let Ok(location) = location(&call.url, response.headers()) {
            self.abandon(endpoint, location).await;
        }
        Ok(false)
    }

    /// Makes the repository have a blob: by finding it there, by having it mounted from one
    /// of `sources`, or by sending it.
    ///
    /// # Errors
    /// When the registry does not take it; nothing of a broken upload remains visible.
    pub async fn push_blob(
        &self,
        blob: &BlobFile,
        sources: &[RepositoryName],
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<Pushed, DistributionError> {
        if self.has_blob(&blob.digest).await? {
            progress(blob.size);
            return Ok(Pushed::Existed);
        }
        let same =
            |it: &&RepositoryName| it.registry == self.name.registry && it.path != self.name.path;
        for source in sources.iter().filter(same) {
            if self.mount_blob(&blob.digest, source).await? {
                progress(blob.size);
                return Ok(Pushed::Mounted);
            }
        }
        let endpoint = self.origin();
        let _place = endpoint.host.blobs.acquire().await;
        self.upload(endpoint, blob, &mut progress).await?;
        progress(blob.size);
        Ok(Pushed::Uploaded)
    }

    async fn upload(
        &self,
        endpoint: &Endpoint,
        blob: &BlobFile,
        progress: &mut (impl FnMut(u64) + Send),
    ) -> Result<(), DistributionError> {
        let policy = &self.shared.config.retry;
        let mut failed = 0;
        let mut upload = None;
        loop {
            let error = match self.upload_on(endpoint, blob, &mut upload, progress).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            failed += 1;
            let lost = error.is_not_found()
                || matches!(&error, DistributionError::Status { status, .. }
                    if *status == StatusCode::RANGE_NOT_SATISFIABLE);
            if !(error.is_retryable() || lost) {
                return Err(error);
            }
            let Some(pause) = policy.pause(failed, None) else {
                return Err(error);
            };
            tokio::time::sleep(pause).await;
            upload = match upload.take() {
                Some(upload) if !lost => self.progress_of(endpoint, upload).await,
                _ => None,
            };
        }
    }

    /// Sends what the upload lacks. On an error `upload` says which upload it was.
    async fn upload_on(
        &self,
        endpoint: &Endpoint,
        blob: &BlobFile,
        upload: &mut Option<Upload>,
        progress: &mut (impl FnMut(u64) + Send),
    ) -> Result<(), DistributionError> {
        let piece = self.shared.config.upload_piece_bytes.max(1);
        if upload.is_none() {
            *upload = Some(self.begin(endpoint).await?);
        }
        let under_way = upload.as_mut().expect("begun above");
        if blob.size > piece {
            while under_way.at < blob.size {
                let length = piece.min(blob.size - under_way.at);
                self.send_piece(endpoint, blob, under_way, length).await?;
                progress(under_way.at);
            }
        }
        let mut url = under_way.location.clone();
        url.query_pairs_mut()
            .append_pair("digest", blob.digest.as_str());
        let mut call = Call::new(Method::PUT, url);
        call.repeat = false;
        if under_way.at < blob.size {
            call.payload = Payload::File {
                path: blob.path.clone(),
                offset: under_way.at,
                length: blob.size - under_way.at,
            };
            call.headers.insert(CONTENT_TYPE, octets());
        }
        self.line(endpoint).exchange(&call).await?;
        Ok(())
    }

    async fn begin(&self, endpoint: &Endpoint) -> Result<Upload, DistributionError> {
        let make =
            |endpoint: &Endpoint| Ok(Call::new(Method::POST, endpoint.url("blobs/uploads/")?));
        let (call, response) = self.reached(endpoint, make).await?;
        Ok(Upload {
            location: location(&call.url, response.headers())?,
            at: 0,
        })
    }

    async fn send_piece(
        &self,
        endpoint: &Endpoint,
        blob: &BlobFile,
        upload: &mut Upload,
        length: u64,
    ) -> Result<(), DistributionError> {
        let mut call = Call::new(Method::PATCH, upload.location.clone());
        call.repeat = false;
        call.payload = Payload::File {
            path: blob.path.clone(),
            offset: upload.at,
            length,
        };
        call.headers.insert(CONTENT_TYPE, octets());
        let range = format!("{}-{}", upload.at, upload.at + length - 1);
        call.headers.insert(
            CONTENT_RANGE,
            HeaderValue::try_from(range).expect("digits are header characters"),
        );
        let response = self.line(endpoint).exchange(&call).await?;
        upload.location = location(&call.url, response.headers())?;
        upload.at = received(&response).unwrap_or(upload.at + length);
        Ok(())
    }

    /// Where a broken upload stands, `None` when it must begin anew.
    async fn progress_of(&self, endpoint: &Endpoint, upload: Upload) -> Option<Upload> {
        if upload.at == 0 {
            self.abandon(endpoint, upload.location).await;
            return None;
        }
        let call = Call::new(Method::GET, upload.location.clone());
        let response = self.line(endpoint).exchange(&call).await.ok()?;
        let at = received(&response)?;
        let location = location(&call.url, response.headers()).unwrap_or(upload.location);
        Some(Upload { location, at })
    }

    /// Tells the registry that an upload will not be finished. Failing at it harms no one:
    /// registries throw such uploads away after a while.
    async fn abandon(&self, endpoint: &Endpoint, location: Url) {
        let mut call = Call::new(Method::DELETE, location);
        call.repeat = false;
        if let Err(error) = self.line(endpoint).exchange(&call).await {
            tracing::debug!(%error, "an upload that is not needed stays open");
        }
    }

    /// Puts a manifest under a tag or its digest.
    ///
    /// # Errors
    /// When the registry refuses, or says that it stored other bytes.
    pub async fn push_manifest(
        &self,
        reference: &str,
        media_type: &str,
        bytes: &Bytes,
    ) -> Result<(), DistributionError> {
        let endpoint = self.origin();
        let _place = endpoint.host.small.acquire().await;
        let content_type =
            HeaderValue::try_from(media_type).map_err(|_| DistributionError::Protocol {
                url: endpoint.host.host.clone(),
                reason: format!("{media_type:?} cannot be sent as a media type"),
            })?;
        let make = |endpoint: &Endpoint| {
            let url = endpoint.url(&format!("manifests/{reference}"))?;
            let mut call = Call::new(Method::PUT, url);
            call.headers.insert(CONTENT_TYPE, content_type.clone());
            call.payload = Payload::Bytes(bytes.clone());
            Ok(call)
        };
        let (call, response) = self.reached(endpoint, make).await?;
        let stored = response
            .headers()
            .get("docker-content-digest")
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.parse::<Digest>().ok());
        match stored {
            Some(stored) if !stored.matches(bytes) => Err(DistributionError::Digest {
                url: redact(&call.url),
                expected: stored.algorithm().digest(bytes),
                received: stored,
            }),
            _ => Ok(()),
        }
    }
}

fn octets() -> HeaderValue {
    HeaderValue::from_static("application/octet-stream")
}

fn location(base: &Url, headers: &HeaderMap) -> Result<Url, DistributionError> {
    let refuse = |reason: &str| DistributionError::Protocol {
        url: redact(base),
        reason: reason.to_owned(),
    };
    let target = headers
        .get(LOCATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| base.join(text).ok())
        .ok_or_else(|| refuse("the answer to an upload has no usable Location"))?;
    match (base.scheme(), target.scheme()) {
        ("https", "http") => Err(refuse("the upload's Location leaves https for plain http")),
        (_, "http" | "https") => Ok(target),
        _ => Err(refuse("the upload's Location is neither http nor https")),
    }
}

/// How many bytes of an upload the registry has, by its `Range: 0-n`.
fn received(response: &Response) -> Option<u64> {
    let range = response.headers().get(RANGE)?.to_str().ok()?;
    let range = range.strip_prefix("bytes=").unwrap_or(range);
    let last: u64 = range.split_once('-')?.1.parse().ok()?;
    // `0-0` is what registries say for an upload without bytes.
    let empty = response.headers().get(CONTENT_LENGTH).is_some() && last == 0;
    Some(if empty { 0 } else { last + 1 })
}
