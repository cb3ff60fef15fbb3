use std::time::{Duration, Instant};

use cooper_core::ports::Credentials;
use reqwest::{
    Method, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderValue},
};
use url::form_urlencoded::Serializer;

use super::{
    DistributionError,
    auth::basic,
    endpoint::same_origin,
    error::redact,
    transport::{Call, Line, Payload, passing, send, transport},
};

/// The most bytes of a token service's answer that are read.
const ANSWER_BYTES: usize = 1 << 20;
/// How long a token lives when the service does not say (distribution's token spec).
pub(super) const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// How long before its end a token is not used any more.
pub(super) const MARGIN: Duration = Duration::from_secs(10);
/// The longest that a token is taken to live.
pub(super) const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);
const CLIENT_ID: &str = "cooper";

/// A bearer token as it is sent.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) header: HeaderValue,
    pub(super) expires: Instant,
}

/// A token that is wanted.
pub(super) struct TokenRequest {
    pub(super) realm: Url,
    pub(super) service: Option<String>,
    pub(super) scopes: Vec<String>,
    /// Shown to the realm; who asks has made sure that it may see them.
    pub(super) credentials: Option<Credentials>,
}

#[derive(serde::Deserialize)]
struct Answer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

/// Asks a token service (distribution's "token authentication" and "OAuth2" pages).
///
/// # Errors
/// `Unauthorized` when it refuses.
pub(super) async fn fetch(
    line: &Line<'_>,
    request: &TokenRequest,
) -> Result<Token, DistributionError> {
    let call = match &request.credentials {
        Some(credentials) if credentials.username.is_empty() => {
            exchange_identity(request, credentials)
        }
        _ => ask(request),
    };
    let login = request
        .credentials
        .as_ref()
        .filter(|credentials| !credentials.username.is_empty())
        .map(basic);
    let own = line.host.url("")?;
    let client = match same_origin(&own, &call.url) || own.host_str() == call.url.host_str() {
        true => &line.host.client,
        false => line.outside,
    };
    let mut failed = 0;
    loop {
        let error = match send(client, &call, &call.url, login.as_ref()).await {
            Ok(response) if response.status().is_success() => return read(&call, response).await,
            Ok(response) if passing(response.status()) => DistributionError::Status {
                method: call.method.to_string(),
                url: redact(&call.url),
                status: response.status(),
                body: String::new(),
            },
            Ok(response) => return Err(refused(line, request, response.status())),
            Err(error) if error.is_retryable() => error,
            Err(error) => return Err(error),
        };
        failed += 1;
        let Some(pause) = line.retry.pause(failed, None) else {
            return Err(error);
        };
        tokio::time::sleep(pause).await;
    }
}

fn ask(request: &TokenRequest) -> Call {
    let mut url = request.realm.clone();
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = &request.service {
            query.append_pair("service", service);
        }
        for scope in &request.scopes {
            query.append_pair("scope", scope);
        }
        if let Some(credentials) = &request.credentials {
            query.append_pair("account", &credentials.username);
        }
    }
    Call::new(Method::GET, url)
}

fn exchange_identity(request: &TokenRequest, credentials: &Credentials) -> Call {
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", "refresh_token")
        .append_pair("refresh_token", &credentials.secret)
        .append_pair("client_id", CLIENT_ID)
        .append_pair("scope", &request.scopes.join(" "));
    if let Some(service) = &request.service {
        form.append_pair("service", service);
    }
    let mut call = Call::new(Method::POST, request.realm.clone());
    call.headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    call.payload = Payload::Bytes(form.finish().into());
    call
}

async fn read(call: &Call, mut response: reqwest::Response) -> Result<Token, DistributionError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| transport(call, &error))?
    {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > ANSWER_BYTES {
            return Err(unreadable(call, "the answer is larger than 1 MiB"));
        }
    }
    // The answer holds a token: what is wrong with it is said without quoting it.
    let answer: Answer = serde_json::from_slice(&bytes)
        .map_err(|_| unreadable(call, "the answer is not a token document"))?;
    let text = match answer.token.is_empty() {
        true => answer.access_token,
        false => answer.token,
    };
    if text.is_empty() {
        return Err(unreadable(call, "the answer has no token"));
    }
    let header = header(&text)
        .ok_or_else(|| unreadable(call, "the token has characters that cannot be sent"))?;
    let life = answer.expires_in.map_or(DEFAULT_LIFE, Duration::from_secs);
    let life = life.clamp(DEFAULT_LIFE, LONGEST_LIFE);
    Ok(Token {
        header,
        expires: Instant::now() + life.saturating_sub(MARGIN),
    })
}

/// The value of an `Authorization` header; `None` for an empty token or one that cannot be sent.
pub(super) fn header(token: &str) -> Option<HeaderValue> {
    let value = HeaderValue::try_from(format!("Bearer {token}")).ok();
    let mut value = value.filter(|_| !token.is_empty())?;
    value.set_sensitive(true);
    Some(value)
}

fn unreadable(call: &Call, reason: &str) -> DistributionError {
    DistributionError::Protocol {
        url: redact(&call.url),
        reason: reason.to_owned(),
    }
}

fn refused(line: &Line<'_>, request: &TokenRequest, status: StatusCode) -> DistributionError {
    let shown = match &request.credentials {
        Some(_) => "with the credentials that are known for it",
        None => "to an anonymous client",
    };
    DistributionError::Unauthorized {
        host: line.host.host.clone(),
        scope: request.scopes.join(" "),
        reason: format!(
            "{} gives no token {shown} ({status})",
            redact(&request.realm)
        ),
    }
}
