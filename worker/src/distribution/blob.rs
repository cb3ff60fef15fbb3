use std::io;

use bytes::Bytes;
use cooper_proto::Digest;
use futures::{Stream, StreamExt, stream::BoxStream};
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{CONTENT_RANGE, HeaderValue, RANGE},
};
use tokio_util::io::StreamReader;

use super::{
    DistributionError, Repository,
    client::Endpoint,
    error::redact,
    transport::{Call, send, transport},
};
use crate::content::{ContentStore, Expected, VerifiedBlob};

impl Repository {
    /// Reads a blob into the content store: resumed where it broke off, hashed as it
    /// arrives, from the first endpoint that gives the right bytes. `progress` is told
    /// how many bytes have come.
    ///
    /// `urls` are a foreign layer's own addresses; they are tried last, over https, with no
    /// authorization of any kind (security.md T-C3).
    ///
    /// # Errors
    /// The last endpoint's. Wrong bytes never enter the store.
    ///
    /// # Cancel
    /// Dropped, it leaves nothing.
    pub async fn pull_blob(
        &self,
        store: &ContentStore,
        (digest, size): (&Digest, u64),
        urls: &[String],
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<VerifiedBlob, DistributionError> {
        let mut last = None;
        for endpoint in &self.endpoints {
            let _place = endpoint.host.blobs.acquire().await;
            let chunks = self.chunks(endpoint, digest, size);
            let expected = Expected::described(digest.clone(), size);
            let reader = StreamReader::new(Box::pin(chunks));
            match store.ingest_from(reader, expected, &mut progress).await {
                Ok(blob) => return Ok(blob),
                Err(error) => last = Some(unwrapped(error)),
            }
            if !last
                .as_ref()
                .is_some_and(DistributionError::concerns_one_endpoint)
            {
                break;
            }
        }
        for url in urls {
            let expected = Expected::described(digest.clone(), size);
            let chunks = self.foreign(url);
            let reader = StreamReader::new(Box::pin(chunks));
            match store.ingest_from(reader, expected, &mut progress).await {
                Ok(blob) => return Ok(blob),
                Err(error) => last = Some(unwrapped(error)),
            }
        }
        Err(last.expect("a repository has at least one endpoint"))
    }

    /// The bytes of a blob as one of the hosts has them, counted from 0: not verified, and over when they break off.
    /// `None` when there is no such host.
    ///
    /// # Errors
    /// The host's.
    pub(crate) async fn open_blob(
        &self,
        host: usize,
        digest: &Digest,
    ) -> Result<Option<BoxStream<'static, Result<Bytes, DistributionError>>>, DistributionError>
    {
        let Some(endpoint) = self.endpoints.get(host) else {
            return Ok(None);
        };
        let mut reading = Reading {
            repository: self,
            endpoint,
            digest,
            size: 0,
            at: 0,
            failed: 0,
            failures: 0,
            chunks: None,
        };
        reading.open().await.map(Some)
    }

    /// The bytes of a blob, whatever breaks on the way.
    fn chunks<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        digest: &'a Digest,
        size: u64,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + 'a {
        let state = Reading {
            repository: self,
            endpoint,
            digest,
            size,
            at: 0,
            failed: 0,
            failures: 0,
            chunks: None,
        };
        futures::stream::try_unfold(state, |mut state| async move {
            let chunk = state.next().await.map_err(io::Error::other)?;
            Ok(chunk.map(|chunk| (chunk, state)))
        })
    }

    /// The bytes at a foreign layer's own address.
    fn foreign<'a>(&'a self, url: &'a str) -> impl Stream<Item = io::Result<Bytes>> + Send + 'a {
        let opened = async move {
            let parsed = Url::parse(url)
                .ok()
                .filter(|url| url.scheme() == "https" && url.username().is_empty())
                .ok_or_else(|| DistributionError::Protocol {
                    url: "a foreign layer's address".into(),
                    reason: "it is not an https address without user info".into(),
                })?;
            let call = Call::new(Method::GET, parsed);
            let response = send(self.outside(), &call, &call.url, None).await?;
            if response.status() != StatusCode::OK {
                return Err(DistributionError::Status {
                    method: call.method.to_string(),
                    url: redact(&call.url),
                    status: response.status(),
                    body: String::new(),
                });
            }
            Ok(body(call, response))
        };
        futures::stream::once(opened)
            .map(|opened| match opened {
                Ok(chunks) => chunks.map(|chunk| chunk.map_err(io::Error::other)).boxed(),
                Err(error) => futures::stream::iter([Err(io::Error::other(error))]).boxed(),
            })
            .flatten()
    }
}

type Chunks = BoxStream<'static, Result<Bytes, DistributionError>>;

/// A blob that is being read.
struct Reading<'a> {
    repository: &'a Repository,
    endpoint: &'a Endpoint,
    digest: &'a Digest,
    size: u64,
    /// How many bytes have been handed on.
    at: u64,
    /// Failures since bytes last came.
    failed: u32,
    /// Failures at all.
    failures: u32,
    chunks: Option<Chunks>,
}

impl Reading<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>, DistributionError> {
        loop {
            if self.chunks.is_none() {
                if self.at >= self.size && self.at > 0 {
                    return Ok(None);
                }
                // What this asks is tried again inside; an error here is final.
                self.chunks = Some(self.open().await?);
            }
            let chunks = self.chunks.as_mut().expect("opened above");
            match chunks.next().await {
                Some(Ok(chunk)) => {
                    self.at += chunk.len() as u64;
                    self.failed = 0;
                    return Ok(Some(chunk));
                }
                None if self.at >= self.size => return Ok(None),
                None => self.broke_off(None).await?,
                Some(Err(error)) => self.broke_off(Some(error)).await?,
            }
        }
    }

    async fn broke_off(
        &mut self,
        error: Option<DistributionError>,
    ) -> Result<(), DistributionError> {
        self.chunks = None;
        self.failed += 1;
        self.failures += 1;
        let policy = &self.repository.shared.config.retry;
        let error = match error {
            Some(error) => error,
            None => DistributionError::Transport {
                method: "GET".into(),
                url: redact(&self.url()?),
                reason: format!("the blob ended after {} of {} bytes", self.at, self.size),
                retryable: true,
            },
        };
        // Progress earns patience, but a registry that gives a byte at a time is given up.
        let given_up = self.failures > policy.attempts.saturating_mul(8);
        match policy.pause(self.failed, None) {
            Some(pause) if !given_up => tokio::time::sleep(pause).await,
            _ => return Err(error),
        }
        Ok(())
    }

    fn url(&self) -> Result<Url, DistributionError> {
        self.endpoint.url(&format!("blobs/{}", self.digest))
    }

    async fn open(&mut self) -> Result<Chunks, DistributionError> {
        let at = self.at;
        let make = |endpoint: &Endpoint| {
            let mut call = Call::new(
                Method::GET,
                endpoint.url(&format!("blobs/{}", self.digest))?,
            );
            if at > 0 {
                let range = HeaderValue::try_from(format!("bytes={at}-"))
                    .expect("digits are header characters");
                call.headers.insert(RANGE, range);
            }
            Ok(call)
        };
        let (call, response) = self.repository.reached(self.endpoint, make).await?;
        let skip = match response.status() {
            StatusCode::PARTIAL_CONTENT if starts_at(&response, at) => 0,
            StatusCode::PARTIAL_CONTENT => {
                return Err(DistributionError::Protocol {
                    url: redact(&call.url),
                    reason: format!("a range from {at} was asked for and another one came"),
                });
            }
            // A host that knows no ranges sends everything again.
            _ => at,
        };
        Ok(skipping(body(call, response), skip))
    }
}

fn starts_at(response: &Response, at: u64) -> bool {
    response
        .headers()
        .get(CONTENT_RANGE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("bytes "))
        .and_then(|value| value.split('-').next())
        .and_then(|start| start.trim().parse::<u64>().ok())
        == Some(at)
}

fn body(call: Call, response: Response) -> Chunks {
    response
        .bytes_stream()
        .map(move |chunk| chunk.map_err(|error| transport(&call, &error)))
        .boxed()
}

fn skipping(chunks: Chunks, mut skip: u64) -> Chunks {
    if skip == 0 {
        return chunks;
    }
    chunks
        .filter_map(move |chunk| {
            let kept = match chunk {
                Ok(mut bytes) => {
                    let cut = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
                    skip -= cut as u64;
                    let rest = bytes.split_off(cut);
                    (!rest.is_empty()).then_some(Ok(rest))
                }
                Err(error) => Some(Err(error)),
            };
            futures::future::ready(kept)
        })
        .boxed()
}

/// The registry's error that travelled through an `io::Error`.
fn unwrapped(error: crate::content::ContentError) -> DistributionError {
    match error {
        crate::content::ContentError::Source(source) => {
            match source.downcast::<DistributionError>() {
                Ok(inner) => inner,
                Err(source) => crate::content::ContentError::Source(source).into(),
            }
        }
        other => other.into(),
    }
}
