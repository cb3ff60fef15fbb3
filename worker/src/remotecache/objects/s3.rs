use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind};
use cooper_proto::{Digest, oci::Descriptor};
use jiff::Timestamp;
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{HeaderMap, HeaderName, LAST_MODIFIED, RANGE},
};
use sha2::{Digest as _, Sha256};

use super::{
    attributes::{Attributes, checked_key, escaped},
    cache::{DOCUMENT_BYTES, Layer, Objects},
    http::{self, Http, Payload, Request, name, value},
    s3_signature::Signer,
};
use crate::{distribution::RetryPolicy, exporter::invalid};

/// The SHA-256 of nothing.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// How often a request is sent that a client says nothing of, as AWS's own libraries do.
const ATTEMPTS: u32 = 3;

/// How long a layer is left alone before its age is made anew, when a client says nothing of it.
const TOUCH_AFTER: Duration = Duration::from_secs(24 * 3600);

/// A cache in Amazon S3, or in a store that speaks like it.
pub(super) struct S3 {
    pub(super) http: Http,
    signer: Signer,
    /// The bucket's address, with a slash at its end.
    base: Url,
    /// The bucket as copies name their source.
    bucket: String,
    /// Before all keys of layers.
    blobs: String,
    /// Keys of the document; the first is read.
    documents: Vec<String>,
    touch_after: Duration,
    at_once: usize,
}

impl S3 {
    /// Reads a cache's attributes (parity sheet C3).
    ///
    /// # Errors
    /// `InvalidInput` for one that is missing or wrong.
    pub(super) fn read(given: &Attributes<'_>, retry: RetryPolicy) -> Result<Self, Failure> {
        let missing = |key: &str, variable: &str| {
            invalid(&format!("{key} (${variable}) not set for s3 cache"))
        };
        let bucket = given.or_variable("bucket", "AWS_BUCKET");
        let bucket = bucket.ok_or_else(|| missing("bucket", "AWS_BUCKET"))?;
        let region = given.or_variable("region", "AWS_REGION");
        let region = region.ok_or_else(|| missing("region", "AWS_REGION"))?;
        let prefix = given.or("prefix", "");
        let documents = given.names().into_iter().map(|name| {
            checked_key(format!(
                "{prefix}{}{name}",
                given.or("manifests_prefix", "manifests/")
            ))
        });
        let blobs = format!("{prefix}{}", given.or("blobs_prefix", "blobs/"));
        checked_key(format!("{blobs}x"))?;
        if let Some(mode) = given.get("retry_mode")
            && !["standard", "adaptive"].contains(&mode)
        {
            return Err(invalid("retry_mode must be \"standard\" or \"adaptive\""));
        }
        let attempts = given.positive("retry_max_attempts")?.unwrap_or(ATTEMPTS);
        let at_once = given.positive("upload_parallelism")?.unwrap_or(4);
        Ok(Self {
            http: Http::new(attempts, retry)?,
            base: base(given, &bucket, &region)?,
            signer: signer(given, region)?,
            bucket,
            blobs,
            documents: documents.collect::<Result<_, _>>()?,
            touch_after: given.duration("touch_refresh").unwrap_or(TOUCH_AFTER),
            at_once: usize::try_from(at_once).unwrap_or(4).min(64),
        })
    }

    pub(super) fn blob_key(&self, digest: &Digest) -> String {
        format!("{}{digest}", self.blobs)
    }

    fn url(&self, key: &str, query: &str) -> Result<Url, Failure> {
        let text = format!("{}{}", self.base, escaped(key, '/'));
        let mut url = Url::parse(&text).map_err(|error| invalid(&format!("{text:?}: {error}")))?;
        url.set_query((!query.is_empty()).then_some(query));
        Ok(url)
    }

    /// Sends a signed request. `hash` is the payload's SHA-256 in hex.
    pub(super) async fn send(
        &self,
        method: Method,
        (key, query): (&str, &str),
        more: &[(HeaderName, String)],
        (payload, hash): (Payload, &str),
    ) -> Result<Response, Failure> {
        let url = self.url(key, query)?;
        self.http
            .send(|| {
                let mut headers = HeaderMap::new();
                for (name, text) in more {
                    headers.insert(name.clone(), value(text)?);
                }
                let now = Timestamp::now();
                self.signer
                    .sign(method.as_str(), &url, &mut headers, hash, now)?;
                Ok(Request {
                    method: method.clone(),
                    url: url.clone(),
                    headers,
                    payload: payload.clone(),
                })
            })
            .await
    }

    async fn get(&self, key: &str, from: u64) -> Result<Response, Failure> {
        let range = (from > 0).then(|| (RANGE, format!("bytes={from}-")));
        let more: Vec<_> = range.into_iter().collect();
        let sent = self.send(Method::GET, (key, ""), &more, (Payload::Nothing, EMPTY));
        let response = sent.await?;
        match response.status() {
            StatusCode::OK if from == 0 => Ok(response),
            StatusCode::PARTIAL_CONTENT if from > 0 => Ok(response),
            _ => Err(http::refused("GET", response).await),
        }
    }

    /// Copies an object onto itself, which makes it new for rules that remove what is old.
    async fn touch(&self, key: &str, size: u64) -> Result<(), Failure> {
        let source = format!("/{}/{}", self.bucket, escaped(key, '/'));
        if size >= super::s3_parts::MOST_IN_ONE_COPY {
            return self.touch_in_parts(key, &source, size).await;
        }
        let more = [
            (name("x-amz-copy-source"), source),
            (name("x-amz-metadata-directive"), "REPLACE".to_owned()),
            (name("x-amz-meta-updated-at"), Timestamp::now().to_string()),
        ];
        let sent = self.send(Method::PUT, (key, ""), &more, (Payload::Nothing, EMPTY));
        well(sent.await?).await.map(drop)
    }
}

/// The text of an answer to a request that changes something. Some fail after they began to say that all is well.
///
/// # Errors
/// When the answer tells of a failure.
pub(super) async fn well(response: Response) -> Result<String, Failure> {
    if !response.status().is_success() {
        return Err(http::refused("PUT", response).await);
    }
    let text = http::text(response).await?;
    match text.contains("<Error>") {
        true => {
            let said = http::tag(&text, "Message").unwrap_or(&text);
            Err(Failure::new(FailureKind::Infrastructure, said))
        }
        false => Ok(text),
    }
}

fn signer(given: &Attributes<'_>, region: String) -> Result<Signer, Failure> {
    let own = given
        .get("access_key_id")
        .zip(given.get("secret_access_key"));
    let (id, secret, token) = match own {
        Some((id, secret)) => (
            Some(id.to_owned()),
            Some(secret.to_owned()),
            given.get("session_token").map(str::to_owned),
        ),
        // What the daemon itself may do.
        None => (
            given.variable("AWS_ACCESS_KEY_ID"),
            given.variable("AWS_SECRET_ACCESS_KEY"),
            given.variable("AWS_SESSION_TOKEN"),
        ),
    };
    match (id, secret) {
        (Some(access_key_id), Some(secret_access_key)) => Ok(Signer {
            access_key_id,
            secret_access_key,
            session_token: token,
            region,
        }),
        _ => Err(invalid("no credentials for s3 cache").with_hint(
            "give access_key_id and secret_access_key, or start the daemon with AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY; profiles and roles of machines are not read",
        )),
    }
}

/// The bucket's address: below the endpoint's path, or as a host of its own.
fn base(given: &Attributes<'_>, bucket: &str, region: &str) -> Result<Url, Failure> {
    let is_host = bucket
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let (endpoint, by_path) = match given.get("endpoint_url") {
        Some(text) => {
            let by_path = matches!(
                given.get("use_path_style"),
                Some("1" | "t" | "T" | "true" | "TRUE" | "True")
            );
            (Attributes::url("endpoint_url", text)?, by_path)
        }
        None => {
            let china = if region.starts_with("cn-") { ".cn" } else { "" };
            let text = format!("https://s3.{region}.amazonaws.com{china}");
            (Attributes::url("region", &text)?, !is_host)
        }
    };
    let (mut base, bucket) = (endpoint, escaped(bucket, '-'));
    base.set_query(None);
    base.set_fragment(None);
    let path = base.path().trim_end_matches('/').to_owned();
    if by_path {
        base.set_path(&format!("{path}/{bucket}/"));
    } else {
        let host = format!("{bucket}.{}", base.host_str().unwrap_or_default());
        base.set_host(Some(&host))
            .map_err(|error| invalid(&format!("the bucket {bucket:?} is no host: {error}")))?;
        base.set_path(&format!("{path}/"));
    }
    Ok(base)
}

#[async_trait]
impl Objects for S3 {
    fn attempts(&self) -> u32 {
        self.http.attempts()
    }

    fn at_once(&self) -> usize {
        self.at_once
    }

    async fn documents(&self) -> Result<Vec<Bytes>, Failure> {
        let first = self.documents.first().map_or("", String::as_str);
        match self.get(first, 0).await {
            Ok(response) => Ok(vec![http::bytes(response, DOCUMENT_BYTES).await?]),
            Err(failure) if failure.kind == FailureKind::NotFound => Ok(Vec::new()),
            Err(failure) => Err(failure),
        }
    }

    async fn read(&self, blob: &Digest, from: u64) -> Result<Response, Failure> {
        self.get(&self.blob_key(blob), from).await
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Failure> {
        let key = self.blob_key(&blob.digest);
        let sent = self.send(Method::HEAD, (&key, ""), &[], (Payload::Nothing, EMPTY));
        let response = sent.await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(false),
            _ => return Err(http::refused("HEAD", response).await),
        }
        let changed = response.headers().get(LAST_MODIFIED);
        let changed = changed.and_then(|time| httpdate::parse_http_date(time.to_str().ok()?).ok());
        let age = changed.and_then(|changed| changed.elapsed().ok());
        if age.is_some_and(|age| age > self.touch_after) {
            self.touch(&key, blob.size).await?;
        }
        Ok(true)
    }

    async fn put(&self, layer: &Layer) -> Result<(), Failure> {
        self.put_file(layer).await
    }

    async fn put_document(&self, document: Bytes) -> Result<(), Failure> {
        let hash = hex::encode(Sha256::digest(&document));
        for key in &self.documents {
            let payload = (Payload::Bytes(document.clone()), hash.as_str());
            let sent = self.send(Method::PUT, (key, ""), &[], payload).await?;
            well(sent).await?;
        }
        Ok(())
    }
}
