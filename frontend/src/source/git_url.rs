//! URLs of git repositories, the short form `user@host:path` among them.

use crate::golang::path::join;

/// A URL taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GitUrl {
    /// `git`, `ssh`, `http` or `https`.
    pub(crate) scheme: String,
    /// Host, with the port.
    pub(crate) host: String,
    /// Path on the host.
    pub(crate) path: String,
    /// `key=value` pairs after `?`, decoded.
    pub(crate) query: Vec<(String, String)>,
    /// Branch, tag or commit after `#`.
    pub(crate) reference: String,
    /// Folder after `#…:`.
    pub(crate) subdir: String,
    /// What git is given.
    pub(crate) remote: String,
}

/// Why a text is no such URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoGitUrl {
    /// It names a protocol that git sources do not speak.
    Protocol,
    /// It names no protocol and is no short form.
    Unknown,
}

impl GitUrl {
    pub(crate) fn parse(text: &str) -> Result<Self, NoGitUrl> {
        if let Some((scheme, rest)) = text.split_once("://")
            && !scheme.is_empty()
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric())
        {
            let scheme = scheme.to_lowercase();
            if !matches!(scheme.as_str(), "git" | "ssh" | "http" | "https") {
                return Err(NoGitUrl::Protocol);
            }
            return Ok(Self::with_scheme(scheme, rest));
        }
        Self::short(text).ok_or(NoGitUrl::Unknown)
    }

    fn with_scheme(scheme: String, rest: &str) -> Self {
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host = authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host);
        let mut url = Self {
            remote: format!("{scheme}://{rest}"),
            scheme,
            host: host.to_owned(),
            path: decoded(path, false),
            query: pairs(query),
            ..Self::default()
        };
        url.set_fragment(&decoded(fragment, false));
        url
    }

    fn short(text: &str) -> Option<Self> {
        let (user, rest) = text.split_once('@')?;
        let (host, rest) = rest.split_once(':')?;
        let word = |text: &str, more: char| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || char::from(b) == more)
        };
        if !word(user, '_') || !word(host, '.') {
            return None;
        }
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut url = Self {
            remote: format!("{user}@{host}:{path}"),
            scheme: "ssh".to_owned(),
            host: host.to_owned(),
            path: path.to_owned(),
            query: pairs(query),
            ..Self::default()
        };
        url.set_fragment(fragment);
        Some(url)
    }

    fn set_fragment(&mut self, fragment: &str) {
        if fragment.is_empty() {
            return;
        }
        let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
        self.reference = reference.to_owned();
        // Joining to the root keeps `..` from leaving the repository.
        self.subdir = join(&["/", subdir]).trim_start_matches('/').to_owned();
    }
}

fn pairs(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(key, true), decoded(value, true))
        })
        .collect()
}

/// Undoes percent encoding; what is no encoding stays.
fn decoded(text: &str, plus_is_blank: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = text
            .get(at + 1..at + 3)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], pair) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
                continue;
            }
            (b'+', _) if plus_is_blank => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}
