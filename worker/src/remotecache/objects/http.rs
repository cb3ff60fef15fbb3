use std::{
    io::SeekFrom,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind};
use reqwest::{
    Body, Client, Method, Response, StatusCode, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use crate::{
    distribution::{
        RetryPolicy, USER_AGENT, asked_pause, body_text, is_passing, reasons, redact, unresolved,
    },
    exporter::{invalid, unwritten},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection may be silent in the middle of an answer.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// How much of an answer is read that should be small.
///
/// # Units
/// Bytes.
const SMALL: usize = 64 << 10;

/// Bytes of a file that are read at once.
const CHUNK: usize = 256 << 10;

/// Sends requests to a store of objects, again where that can help.
#[derive(Clone, Debug)]
pub(super) struct Http {
    client: Client,
    retry: RetryPolicy,
}

/// A request, made anew for each attempt: its signature has the time.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) payload: Payload,
}

/// What a request brings.
#[derive(Clone, Debug)]
pub(super) enum Payload {
    Nothing,
    Bytes(Bytes),
    /// A part of a file.
    File {
        path: PathBuf,
        start: u64,
        length: u64,
    },
}

impl Payload {
    /// How many bytes it has.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }

    async fn body(&self) -> Result<Option<Body>, Failure> {
        match self {
            Self::Nothing => Ok(None),
            Self::Bytes(bytes) => Ok(Some(Body::from(bytes.clone()))),
            Self::File {
                path,
                start,
                length,
            } => {
                let mut file = tokio::fs::File::open(path).await.map_err(unwritten)?;
                file.seek(SeekFrom::Start(*start))
                    .await
                    .map_err(unwritten)?;
                let part = file.take(*length);
                let stream = ReaderStream::with_capacity(part, CHUNK);
                Ok(Some(Body::wrap_stream(stream)))
            }
        }
    }
}

impl Http {
    /// Connections with the system's trust. `attempts` is how often a request is sent at most.
    ///
    /// # Errors
    /// `Infrastructure` when the system's certificates cannot be read.
    pub(super) fn new(attempts: u32, retry: RetryPolicy) -> Result<Self, Failure> {
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE_TIMEOUT)
            .http1_only()
            .build()
            .map_err(unwritten)?;
        Ok(Self {
            client,
            retry: RetryPolicy { attempts, ..retry },
        })
    }

    /// How often a request is sent at most.
    pub(super) fn attempts(&self) -> u32 {
        self.retry.attempts
    }

    /// Sends what `made` makes and gives the answer, whatever its status.
    ///
    /// # Errors
    /// `Infrastructure` when no answer comes.
    pub(super) async fn send(
        &self,
        made: impl Fn() -> Result<Request, Failure> + Sync,
    ) -> Result<Response, Failure> {
        let mut failed = 0;
        loop {
            let request = made()?;
            let mut builder = self
                .client
                .request(request.method.clone(), request.url.clone())
                .headers(request.headers);
            if let Some(body) = request.payload.body().await? {
                let length = request.payload.length();
                builder = builder
                    .header(reqwest::header::CONTENT_LENGTH, length)
                    .body(body);
            }
            let answer = builder.send().await;
            failed += 1;
            let asked = match &answer {
                Ok(response) if !is_passing(response.status()) => None,
                Ok(response) => Some(asked_pause(response.headers(), SystemTime::now())),
                Err(error) if error.is_builder() => None,
                Err(error) if is_permanent(&reasons(error)) => None,
                Err(_) => Some(None),
            };
            let pause = asked.and_then(|asked| self.retry.pause(failed, asked));
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => {
                    let told = |error| no_answer(&request.method, &request.url, &error);
                    return answer.map_err(told);
                }
            }
        }
    }
}

/// A wrong certificate stays wrong, and so does a host that does not exist.
fn is_permanent(reason: &str) -> bool {
    ["certificate", "dns error", "InvalidContentType"]
        .iter()
        .any(|sign| reason.contains(sign))
}

fn no_answer(method: &Method, url: &Url, error: &reqwest::Error) -> Failure {
    let reason = unresolved(url, reasons(error));
    let told = format!("{method} {}: {reason}", redact(url));
    Failure::new(FailureKind::Infrastructure, told)
}

/// Bytes of an answer that were not all there.
pub(super) fn broken(url: &Url, error: &reqwest::Error) -> Failure {
    let told = format!("reading {}: {}", redact(url), reasons(error));
    Failure::new(FailureKind::Infrastructure, told)
}

/// The text of an answer that should be small.
///
/// # Errors
/// When it breaks off.
pub(super) async fn text(response: Response) -> Result<String, Failure> {
    let bytes = bytes(response, SMALL).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// All bytes of an answer, which has no more than `most` of them.
///
/// # Errors
/// When it has more or breaks off.
pub(super) async fn bytes(mut response: Response, most: usize) -> Result<Bytes, Failure> {
    let url = response.url().clone();
    let mut all = Vec::new();
    while let Some(part) = response
        .chunk()
        .await
        .map_err(|error| broken(&url, &error))?
    {
        all.extend_from_slice(&part);
        if all.len() > most {
            let told = format!("{} has more than {most} bytes", redact(&url));
            return Err(Failure::new(FailureKind::InvalidInput, told));
        }
    }
    Ok(all.into())
}

/// The failure that a status tells of, with the beginning of what the server says of it.
pub(super) async fn refused(method: &str, response: Response) -> Failure {
    let (status, url) = (response.status(), response.url().clone());
    let said = text(response).await.unwrap_or_default();
    let said = body_text(said.as_bytes());
    let kind = match status {
        StatusCode::NOT_FOUND => FailureKind::NotFound,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => FailureKind::Denied,
        _ => FailureKind::Infrastructure,
    };
    let told = format!("{method} {}: {status}: {said}", redact(&url));
    Failure::new(kind, told)
}

/// What stands between a tag's ends in a small XML document.
pub(super) fn tag<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = xml.split_once(&format!("<{name}>"))?;
    let (inside, _) = after.split_once(&format!("</{name}>"))?;
    Some(inside)
}

/// A header's name that we chose.
pub(super) fn name(text: &'static str) -> HeaderName {
    HeaderName::from_static(text)
}

/// A header's value.
///
/// # Errors
/// `InvalidInput` for what no header can carry.
pub(super) fn value(text: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(text).map_err(|_| unsendable())
}

pub(super) fn unsendable() -> Failure {
    invalid("an attribute of the cache has a character that no header can carry")
}
