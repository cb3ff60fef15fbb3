use bytes::Bytes;
use cooper_proto::Digest;
use futures::StreamExt;
use reqwest::{
    Method, Response,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue},
};

use super::{
    DistributionError, Repository,
    client::Endpoint,
    error::redact,
    transport::{Call, is_unreachable, transport},
};

const ACCEPTED: &str = "application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, */*";

/// A manifest or index as a registry gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedManifest {
    /// The digest of its bytes, computed here.
    pub digest: Digest,
    /// The media type that the registry announced, without parameters; empty if none.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Bytes,
}

impl Repository {
    /// Reads the manifest of a tag or digest. Mirrors are asked first.
    ///
    /// # Errors
    /// The last endpoint's: `NotFound` kind when there is no such manifest, `Digest` when
    /// a digest was asked for and other bytes came.
    pub async fn manifest(&self, reference: &str) -> Result<FetchedManifest, DistributionError> {
        let mut last = None;
        for endpoint in &self.endpoints {
            match self.manifest_at(endpoint, reference).await {
                Ok(manifest) => return Ok(manifest),
                Err(error) if error.concerns_one_endpoint() => {
                    tracing::debug!(host = endpoint.host.host, %error, "no manifest here");
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(last.expect("a repository has at least one endpoint"))
    }

    async fn manifest_at(
        &self,
        endpoint: &Endpoint,
        reference: &str,
    ) -> Result<FetchedManifest, DistributionError> {
        let _place = endpoint.host.small.acquire().await;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let read = self.manifest_once(endpoint, reference).await;
            match read {
                // The exchange retries what it sees; an answer that breaks off comes later.
                Err(error @ DistributionError::Transport { .. })
                    if error.is_retryable() && attempts < 4 && !is_unreachable(&error) => {}
                result => return result,
            }
        }
    }

    async fn manifest_once(
        &self,
        endpoint: &Endpoint,
        reference: &str,
    ) -> Result<FetchedManifest, DistributionError> {
        let call = |endpoint: &Endpoint| {
            let mut call = Call::new(
                Method::GET,
                endpoint.url(&format!("manifests/{reference}"))?,
            );
            call.headers = accept();
            Ok(call)
        };
        let call = self.reached(endpoint, call).await?;
        let (call, response) = call;
        let media_type = media_type(response.headers());
        let bytes = capped(&call, response, self.shared.config.manifest_bytes).await?;
        let digest = match reference.parse::<Digest>() {
            Ok(expected) if expected.matches(&bytes) => expected,
            Ok(expected) => {
                return Err(DistributionError::Digest {
                    url: redact(&call.url),
                    received: expected.algorithm().digest(&bytes),
                    expected,
                });
            }
            Err(_) => Digest::sha256_of(&bytes),
        };
        Ok(FetchedManifest {
            digest,
            media_type,
            bytes,
        })
    }

    /// Exchanges a request with an endpoint; where the host cannot be reached by https and
    /// its settings allow plain HTTP too, again that way.
    pub(super) async fn reached(
        &self,
        endpoint: &Endpoint,
        make: impl Fn(&Endpoint) -> Result<Call, DistributionError>,
    ) -> Result<(Call, Response), DistributionError> {
        loop {
            let scheme = endpoint.host.scheme();
            let call = make(endpoint)?;
            match self.line(endpoint).exchange(&call).await {
                Ok(response) => return Ok((call, response)),
                Err(error) if is_unreachable(&error) && endpoint.host.fall_back(scheme) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn accept() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
    headers
}

fn media_type(headers: &HeaderMap) -> String {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Reads an answer of at most `cap` bytes (security.md T-C8).
async fn capped(call: &Call, response: Response, cap: u64) -> Result<Bytes, DistributionError> {
    let too_large = || DistributionError::Protocol {
        url: redact(&call.url),
        reason: format!("the manifest is larger than {cap} bytes"),
    };
    if response.content_length().is_some_and(|length| length > cap) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| transport(call, &error))?;
        if bytes.len() as u64 + chunk.len() as u64 > cap {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}
