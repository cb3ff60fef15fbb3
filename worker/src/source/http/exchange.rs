use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind, SessionId, redacted};
use cooper_core::ports::{ChunkSource, Sessions};
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderName,
    HeaderValue, LOCATION,
};
use reqwest::{Client, Method, Response, StatusCode, Url};

use super::wanted::HttpWanted;
use crate::distribution::{USER_AGENT, reasons};
use crate::source::landing::Arriving;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a server may be silent.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(300);

/// As many as Go's client follows.
const MOST_REDIRECTS: usize = 10;

/// Sends requests for files by URL.
#[derive(Clone)]
pub(super) struct Exchange {
    client: Client,
    sessions: Arc<dyn Sessions>,
}

/// What a server answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
}

/// The bytes of an answer.
pub(super) enum Body {
    Response(Box<Response>),
    Upload(Box<dyn ChunkSource>),
}

#[async_trait]
impl ChunkSource for Body {
    async fn receive(&mut self) -> Result<Option<Bytes>, Failure> {
        match self {
            Self::Response(response) => response.chunk().await.map_err(broken),
            Self::Upload(stream) => stream.receive().await,
        }
    }
}

impl Answer {
    /// A header's text, if it has one.
    pub(super) fn header(&self, name: impl reqwest::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The bytes and what is said of them.
    pub(super) fn arriving(&mut self) -> Arriving<'_> {
        let is_gzip = self.is_gzip();
        let told = self.header(CONTENT_LENGTH).and_then(|it| it.parse().ok());
        Arriving {
            total: told.filter(|_| !is_gzip).unwrap_or(0),
            is_gzip,
            bytes: &mut self.body,
        }
    }

    /// Whether the bytes are compressed for the way only.
    fn is_gzip(&self) -> bool {
        self.header(CONTENT_ENCODING)
            .is_some_and(|it| it.eq_ignore_ascii_case("gzip"))
    }

    /// The answer when it brings the file.
    ///
    /// # Errors
    /// For every other status, in BuildKit's words.
    pub(super) fn with_file(self, wanted: &HttpWanted) -> Result<Self, Failure> {
        if self.status.is_success() {
            return Ok(self);
        }
        let kind = match self.status {
            StatusCode::NOT_FOUND | StatusCode::GONE => FailureKind::NotFound,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => FailureKind::Denied,
            status if status.is_client_error() => FailureKind::InvalidInput,
            _ => FailureKind::Infrastructure,
        };
        let told = format!("invalid response status {}", self.status.as_u16());
        Err(Failure::new(kind, told).with_hint(format!("{} said so", wanted.shown())))
    }
}

impl Exchange {
    /// # Errors
    /// When the system's certificates cannot be read.
    pub(super) fn new(sessions: Arc<dyn Sessions>) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE_TIMEOUT)
            .build()?;
        Ok(Self { client, sessions })
    }

    /// Asks for a file; `extra` are conditions.
    ///
    /// # Errors
    /// `NotFound` for a secret that no session has, `Infrastructure` when no answer came.
    pub(super) async fn ask(
        &self,
        method: Method,
        wanted: &HttpWanted,
        extra: &[(HeaderName, HeaderValue)],
        sessions: &[SessionId],
    ) -> Result<Answer, Failure> {
        if wanted.is_upload() {
            return self.upload(wanted, sessions).await;
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        for (name, value) in &wanted.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("we chose these names");
            let value = HeaderValue::from_str(value)
                .map_err(|_| invalid(&format!("the header {name} of {}", wanted.shown())))?;
            headers.insert(name, value);
        }
        headers.extend(extra.iter().cloned());
        let authorization = self.authorization(wanted, sessions).await?;
        let response = self
            .follow(method, wanted, &headers, authorization.as_ref())
            .await?;
        Ok(Answer {
            status: response.status(),
            headers: response.headers().clone(),
            body: Body::Response(Box::new(response)),
        })
    }

    /// Sends a request and follows redirects. Passwords leave with requests to the first URL's origin only.
    async fn follow(
        &self,
        method: Method,
        wanted: &HttpWanted,
        headers: &HeaderMap,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Failure> {
        let home = wanted.url.origin();
        let mut url = wanted.url.clone();
        for _ in 0..MOST_REDIRECTS {
            let mut request = self.client.request(method.clone(), url.clone());
            request = request.headers(headers.clone());
            if let Some(value) = authorization.filter(|_| url.origin() == home) {
                request = request.header(AUTHORIZATION, value);
            }
            let response = request.send().await.map_err(|error| {
                let told = format!("{method} {}: {}", redacted(url.as_str()), reasons(&error));
                Failure::new(FailureKind::Infrastructure, told)
            })?;
            match redirect(&response, &url)? {
                Some(target) => url = target,
                None => return Ok(response),
            }
        }
        Err(invalid(&format!(
            "{}: stopped after {MOST_REDIRECTS} redirects",
            wanted.shown()
        )))
    }

    /// The `Authorization` header: of the secret that the source names, else of the host's own secrets.
    async fn authorization(
        &self,
        wanted: &HttpWanted,
        sessions: &[SessionId],
    ) -> Result<Option<HeaderValue>, Failure> {
        let named = &wanted.auth_secret;
        let value = if named.is_empty() {
            let host = wanted.url.host_str().unwrap_or_default();
            let host = host.trim_start_matches('[').trim_end_matches(']');
            // The token counts more, as in BuildKit. A build without a session, or whose client has no secrets, has none.
            let token = format!("HTTP_AUTH_TOKEN_{host}");
            match self.secret(&token, sessions).await {
                Ok(Some(token)) => Some([b"Bearer ", token.as_ref()].concat()),
                _ => match self
                    .secret(&format!("HTTP_AUTH_HEADER_{host}"), sessions)
                    .await
                {
                    Ok(Some(header)) => Some(header.to_vec()),
                    _ => None,
                },
            }
        } else {
            let lacking = |why: String| {
                let told = format!("failed to retrieve HTTP auth secret {named}: {why}");
                Failure::new(FailureKind::NotFound, told)
            };
            let found = self.secret(named, sessions).await;
            let found = found.map_err(|failure| lacking(failure.message))?;
            let value = found.ok_or_else(|| lacking(format!("secret {named}: not found")))?;
            Some(value.to_vec())
        };
        let Some(value) = value else { return Ok(None) };
        let mut header = HeaderValue::from_bytes(&value).map_err(|_| {
            invalid("the secret for the Authorization header has bytes that no header can have")
        })?;
        header.set_sensitive(true);
        Ok(Some(header))
    }

    async fn secret(&self, id: &str, sessions: &[SessionId]) -> Result<Option<Bytes>, Failure> {
        let mut failed = None;
        for session in sessions {
            let asked = async { self.sessions.session(session).await?.secret(id).await };
            match asked.await {
                Ok(Some(value)) => return Ok(Some(value)),
                Ok(None) => {}
                Err(failure) => failed = Some(failure),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    async fn upload(&self, wanted: &HttpWanted, sessions: &[SessionId]) -> Result<Answer, Failure> {
        let host = wanted.url.host_str().unwrap_or_default();
        let mut failure = Failure::new(
            FailureKind::InvalidInput,
            format!("{} needs a session", wanted.shown()),
        );
        for session in sessions {
            let asked = async {
                let session = self.sessions.session(session).await?;
                session.upload(host, wanted.url.path()).await
            };
            match asked.await {
                Ok(stream) => {
                    return Ok(Answer {
                        status: StatusCode::OK,
                        headers: HeaderMap::new(),
                        body: Body::Upload(stream),
                    });
                }
                Err(refused) => failure = refused,
            }
        }
        Err(failure)
    }
}

fn redirect(response: &Response, from: &Url) -> Result<Option<Url>, Failure> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = response.headers().get(LOCATION) else {
        return Ok(None);
    };
    let target = location.to_str().ok().and_then(|it| from.join(it).ok());
    let target = target.ok_or_else(|| {
        invalid(&format!(
            "{}: the redirect's Location is not an address",
            redacted(from.as_str())
        ))
    })?;
    match target.scheme() {
        "http" | "https" => Ok(Some(target)),
        scheme => Err(invalid(&format!(
            "{} redirects to {scheme}:, only http and https are followed",
            redacted(from.as_str())
        ))),
    }
}

fn broken(error: reqwest::Error) -> Failure {
    Failure::new(
        FailureKind::Infrastructure,
        format!("the download broke off: {}", reasons(&error.without_url())),
    )
}

fn invalid(what: &str) -> Failure {
    Failure::new(FailureKind::InvalidInput, what)
}
