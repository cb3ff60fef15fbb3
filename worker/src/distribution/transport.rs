use std::{error::Error, path::PathBuf, time::SystemTime};

use bytes::Bytes;
use reqwest::{
    Body, Client, Method, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION},
};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::{
    DistributionError, RetryPolicy,
    auth::Authorizer,
    endpoint::{Host, same_origin},
    error::{SHOWN_BODY_BYTES, body_text, redact},
    retry::{asked_pause, is_passing},
};

const MOST_REDIRECTS: usize = 10;

/// One request, in a form that can be sent again.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) payload: Payload,
    /// Statuses besides 2xx that the caller wants to see itself.
    pub(super) accept: &'static [StatusCode],
    /// Whether it may be sent again after it failed on the way.
    pub(super) repeat: bool,
}

/// What a request carries.
#[derive(Clone, Debug)]
pub(super) enum Payload {
    Empty,
    Bytes(Bytes),
    /// `length` bytes of a file from `offset`.
    File {
        path: PathBuf,
        offset: u64,
        length: u64,
    },
}

impl Call {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            payload: Payload::Empty,
            accept: &[],
            repeat: true,
        }
    }
}

/// Who a request is sent to and in whose name.
pub(super) struct Line<'a> {
    pub(super) host: &'a Host,
    /// For addresses that are not of this host.
    pub(super) outside: &'a Client,
    pub(super) authorizer: &'a Authorizer,
    pub(super) scopes: &'a [String],
    pub(super) retry: &'a RetryPolicy,
}

impl Line<'_> {
    /// Sends a request until it is answered: with authorization as the registry wants it,
    /// following redirects, trying again what failed for a passing reason.
    pub(super) async fn exchange(&self, call: &Call) -> Result<Response, DistributionError> {
        let mut failed = 0;
        loop {
            let (error, asked) = match self.authorized(call).await {
                Ok(response) if accepts(call, response.status()) => return Ok(response),
                Ok(response) => {
                    let asked = asked_pause(response.headers(), SystemTime::now());
                    (status_error(call, response).await, asked)
                }
                Err(error) => (error, None),
            };
            failed += 1;
            if !(call.repeat && error.is_retryable()) {
                return Err(error);
            }
            let Some(pause) = self.retry.pause(failed, asked) else {
                return Err(error);
            };
            tracing::debug!(%error, ?pause, failed, "trying a registry again");
            tokio::time::sleep(pause).await;
        }
    }

    /// Sends a request, once more when the registry wants (other) authorization for it.
    async fn authorized(&self, call: &Call) -> Result<Response, DistributionError> {
        let home = self.host.url("")?;
        let mut used = None;
        if same_origin(&home, &call.url) {
            used = self.authorizer.header(self).await?;
        }
        let mut rounds = 0;
        loop {
            let response = self.redirected(call, &home, used.as_ref()).await?;
            let ours = same_origin(response.url(), &home);
            if response.status() != StatusCode::UNAUTHORIZED || !ours {
                return Ok(response);
            }
            rounds += 1;
            used = self
                .authorizer
                .answer(self, response.headers(), used.as_ref(), rounds)
                .await?;
        }
    }

    /// Sends a request and follows redirects. `authorization` and client certificates leave
    /// only with requests to `home`, the host's own origin.
    async fn redirected(
        &self,
        call: &Call,
        home: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, DistributionError> {
        let mut url = call.url.clone();
        for _ in 0..MOST_REDIRECTS {
            let ours = same_origin(&url, home);
            let client = if ours {
                &self.host.client
            } else {
                self.outside
            };
            let response = send(client, call, &url, authorization.filter(|_| ours)).await?;
            let Some(target) = redirect_target(call, &url, &response)? else {
                return Ok(response);
            };
            url = target;
        }
        Err(DistributionError::Redirect {
            url: redact(&call.url),
            target: redact(&url),
            reason: "there have been ten redirects already",
        })
    }
}

/// Sends one request without authorization or redirects of any kind.
pub(super) async fn send(
    client: &Client,
    call: &Call,
    url: &Url,
    authorization: Option<&HeaderValue>,
) -> Result<Response, DistributionError> {
    let mut request = client
        .request(call.method.clone(), url.clone())
        .headers(call.headers.clone());
    if let Some(value) = authorization {
        request = request.header(AUTHORIZATION, value);
    }
    request = match &call.payload {
        Payload::Empty if call.method == Method::POST || call.method == Method::PUT => {
            request.header(CONTENT_LENGTH, 0)
        }
        Payload::Empty => request,
        Payload::Bytes(bytes) => request.body(bytes.clone()),
        Payload::File {
            path,
            offset,
            length,
        } => {
            let mut file = tokio::fs::File::open(path)
                .await
                .map_err(|error| own_file(call, &error))?;
            file.seek(std::io::SeekFrom::Start(*offset))
                .await
                .map_err(|error| own_file(call, &error))?;
            let stream = ReaderStream::with_capacity(file.take(*length), 1 << 18);
            request
                .header(CONTENT_LENGTH, *length)
                .body(Body::wrap_stream(stream))
        }
    };
    request
        .send()
        .await
        .map_err(|error| transport(call, &error))
}

fn accepts(call: &Call, status: StatusCode) -> bool {
    status.is_success() || call.accept.contains(&status)
}

fn redirect_target(
    call: &Call,
    from: &Url,
    response: &Response,
) -> Result<Option<Url>, DistributionError> {
    let reading = call.method == Method::GET || call.method == Method::HEAD;
    match response.status().as_u16() {
        301..=303 if reading => {}
        307 | 308 => {}
        _ => return Ok(None),
    }
    let Some(location) = response.headers().get(LOCATION) else {
        return Ok(None);
    };
    let target = location
        .to_str()
        .ok()
        .and_then(|text| from.join(text).ok())
        .ok_or_else(|| DistributionError::Protocol {
            url: redact(from),
            reason: "the redirect's Location is not an address".into(),
        })?;
    let refuse = |reason| DistributionError::Redirect {
        url: redact(from),
        target: redact(&target),
        reason,
    };
    match (from.scheme(), target.scheme()) {
        ("https", "http") => Err(refuse("it leaves https for plain http")),
        (_, "http" | "https") => Ok(Some(target)),
        _ => Err(refuse("only http and https are followed")),
    }
}

async fn status_error(call: &Call, mut response: Response) -> DistributionError {
    let status = response.status();
    let mut body = Vec::new();
    while body.len() < SHOWN_BODY_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    body.truncate(SHOWN_BODY_BYTES);
    DistributionError::Status {
        method: call.method.to_string(),
        url: redact(&call.url),
        status,
        body: body_text(&body),
    }
}

fn own_file(call: &Call, error: &std::io::Error) -> DistributionError {
    DistributionError::Transport {
        method: call.method.to_string(),
        url: redact(&call.url),
        reason: format!("reading what is to be sent: {error}"),
        retryable: false,
    }
}

/// An error of the HTTP client in our words.
pub(super) fn transport(call: &Call, error: &reqwest::Error) -> DistributionError {
    let reason = unresolved(&call.url, reasons(error));
    // A wrong certificate stays wrong, and so does a host that does not exist.
    let permanent = ["certificate", "dns error", "InvalidContentType"]
        .iter()
        .any(|sign| reason.contains(sign));
    DistributionError::Transport {
        method: call.method.to_string(),
        url: redact(&call.url),
        retryable: !permanent && !error.is_builder(),
        reason,
    }
}

/// Says of a host that does not exist what clients of Go programs look for.
pub(crate) fn unresolved(url: &Url, reason: String) -> String {
    let signs = ["Name or service not known", "No address associated"];
    match url.host_str() {
        Some(host) if signs.iter().any(|sign| reason.contains(sign)) => {
            let before = reason.split("dns error").next().unwrap_or_default();
            format!("{before}dns error: dial tcp: lookup {host}: no such host")
        }
        _ => reason,
    }
}

/// Whether no connection came about.
pub(super) fn is_unreachable(error: &DistributionError) -> bool {
    matches!(error, DistributionError::Transport { reason, .. }
        if reason.contains("error trying to connect") || reason.contains("client error (Connect)"))
}

/// The words of an error and of all that caused it, without addresses (they may hold
/// passwords).
pub(crate) fn reasons(error: &reqwest::Error) -> String {
    let mut words = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        words.push(cause.to_string());
        next = cause.source();
    }
    if words.is_empty() {
        let kind = match error {
            _ if error.is_timeout() => "no answer in time",
            _ if error.is_connect() => "no connection",
            _ if error.is_body() => "the answer broke off",
            _ => "the request failed",
        };
        words.push(kind.to_owned());
    }
    words.dedup();
    words.join(": ")
}

/// Whether an answer's status says to try again, for readers that retry on their own.
pub(super) fn passing(status: StatusCode) -> bool {
    is_passing(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_does_not_exist_is_told_of_as_go_does() {
        let url = Url::parse("https://no-such-host:5000/v2/").unwrap();
        let glibc = "client error (Connect): dns error: failed to lookup address information: Name or service not known";
        let told = unresolved(&url, glibc.to_owned());
        assert!(
            told.contains("dial tcp: lookup no-such-host: no such host"),
            "{told}"
        );
        let error = DistributionError::Transport {
            method: "GET".to_owned(),
            url: redact(&url),
            reason: told,
            retryable: false,
        };
        assert!(is_unreachable(&error));
        let other = "client error (Connect): connection refused";
        assert_eq!(unresolved(&url, other.to_owned()), other);
    }
}
