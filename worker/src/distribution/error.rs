use std::fmt::Write as _;

use cooper_core::model::{Failure, FailureKind};
use cooper_proto::Digest;
use reqwest::{StatusCode, Url};

use crate::content::ContentError;

/// Why a registry did not give or take what was asked.
///
/// # Shape
/// URLs in messages carry neither user info nor query, which may hold passwords and
/// signatures.
#[derive(Debug, thiserror::Error)]
pub enum DistributionError {
    /// The registry answered with a status that is not the one we need.
    #[error("{method} {url}: {status}{}", said(body))]
    Status {
        /// Method of the request.
        method: String,
        /// Redacted address.
        url: String,
        /// What was answered.
        status: StatusCode,
        /// What the registry said to it, shortened.
        body: String,
    },
    /// The registry wants credentials, or better ones.
    #[error("{host} refused authorization for {scope}: {reason}")]
    Unauthorized {
        /// The registry.
        host: String,
        /// What we wanted to do, in the terms of registry tokens.
        scope: String,
        /// Why, as far as it is known.
        reason: String,
    },
    /// No answer came.
    #[error("{method} {url}: {reason}")]
    Transport {
        /// Method of the request.
        method: String,
        /// Redacted address.
        url: String,
        /// What the network or TLS said.
        reason: String,
        /// Whether trying again may help.
        retryable: bool,
    },
    /// The registry sent us somewhere we do not go.
    #[error("{url} redirects to {target}, which is refused: {reason}")]
    Redirect {
        /// Redacted address that redirected.
        url: String,
        /// Redacted address that it named.
        target: String,
        /// The rule.
        reason: &'static str,
    },
    /// The answer is not what the distribution specification says.
    #[error("{url}: {reason}")]
    Protocol {
        /// Redacted address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The answer is not the content that was asked for.
    #[error("{url} sent {received}, not {expected}")]
    Digest {
        /// Redacted address.
        url: String,
        /// What we asked for.
        expected: Digest,
        /// What came.
        received: Digest,
    },
    /// Settings of a registry cannot be used.
    #[error("settings of registry {host}: {reason}")]
    Config {
        /// The registry.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// The content store did not take or give bytes.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The session could not say what the credentials are.
    #[error("credentials for {host}: {source}")]
    Credentials {
        /// The registry.
        host: String,
        /// What the session said.
        source: Failure,
    },
}

fn said(body: &str) -> String {
    if body.is_empty() {
        String::new()
    } else {
        format!(": {body}")
    }
}

impl DistributionError {
    /// Whether the registry does not have what was asked for.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { status, .. } if *status == StatusCode::NOT_FOUND)
    }

    /// Whether another endpoint of the same registry (a mirror, or the registry behind
    /// one) may do better.
    pub(super) fn concerns_one_endpoint(&self) -> bool {
        !matches!(self, Self::Credentials { .. })
            && !matches!(self, Self::Content(error) if !is_about_bytes(error))
    }

    /// Whether the same request may succeed a little later.
    pub(super) fn is_retryable(&self) -> bool {
        match self {
            Self::Status { status, .. } => super::retry::is_passing(*status),
            Self::Transport { retryable, .. } => *retryable,
            _ => false,
        }
    }
}

/// Whether the bytes were wrong, as opposed to our own disk.
fn is_about_bytes(error: &ContentError) -> bool {
    matches!(
        error,
        ContentError::Digest { .. }
            | ContentError::Size { .. }
            | ContentError::TooLarge { .. }
            | ContentError::Source(_)
    )
}

impl From<DistributionError> for Failure {
    fn from(error: DistributionError) -> Self {
        let kind = match &error {
            DistributionError::Status { status, .. } => match *status {
                StatusCode::NOT_FOUND => FailureKind::NotFound,
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => FailureKind::Denied,
                _ => FailureKind::Infrastructure,
            },
            DistributionError::Unauthorized { .. } => FailureKind::Denied,
            DistributionError::Config { .. } => FailureKind::InvalidInput,
            DistributionError::Credentials { source, .. } => source.kind.clone(),
            _ => FailureKind::Infrastructure,
        };
        let hint = match &error {
            DistributionError::Unauthorized { host, .. } => Some(format!(
                "log in with `docker login {host}`, or check that the name is spelled as it is there"
            )),
            _ => None,
        };
        let failure = Self::new(kind, error.to_string());
        match hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

/// An address as it may be shown: without user info, query and fragment.
pub(crate) fn redact(url: &Url) -> String {
    let mut shown = format!("{}://", url.scheme());
    shown.push_str(url.host_str().unwrap_or_default());
    if let Some(port) = url.port() {
        // Writing to a String cannot fail.
        let _ = write!(shown, ":{port}");
    }
    shown.push_str(url.path());
    shown
}

/// The most of an error body that is read and shown, in bytes.
pub(super) const SHOWN_BODY_BYTES: usize = 4096;

/// What an error answer says, on one line: the messages of the specification's error
/// document if it is one, else the text.
pub(crate) fn body_text(bytes: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Document {
        errors: Vec<Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    if let Ok(document) = serde_json::from_slice::<Document>(bytes) {
        let parts: Vec<String> = document
            .errors
            .iter()
            .map(|entry| match entry.message.is_empty() {
                true => entry.code.clone(),
                false => format!("{}: {}", entry.code, entry.message),
            })
            .collect();
        return parts.join("; ");
    }
    let text = String::from_utf8_lossy(bytes);
    let line: Vec<&str> = text.split_whitespace().collect();
    let line = line.join(" ");
    line.chars().filter(|c| !c.is_control()).take(512).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_addresses_carry_no_password_and_no_signature() {
        let url = Url::parse("https://me:pw@host:444/v2/a?X-Signature=s#f").unwrap();
        assert_eq!(redact(&url), "https://host:444/v2/a");
    }

    #[test]
    fn the_registrys_own_words_are_shown() {
        let body = br#"{"errors":[{"code":"DENIED","message":"quota exceeded"}]}"#;
        assert_eq!(body_text(body), "DENIED: quota exceeded");
        assert_eq!(body_text(b"<h1>no\n way</h1>\x07"), "<h1>no way</h1>");
    }
}
