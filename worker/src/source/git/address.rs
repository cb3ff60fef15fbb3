use crate::source::http::decoded;

/// How a repository is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Http,
    Ssh,
    Git,
}

/// Where a repository is.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::source) struct Address {
    /// What git is given: no password in it.
    pub(in crate::source) remote: String,
    pub(super) transport: Transport,
    /// Host and port.
    pub(super) host: String,
    /// `name:password` that the address came with, for http.
    pub(super) credentials: Option<String>,
    /// The address as people may see it.
    pub(super) shown: String,
    /// What comes after `#`.
    pub(super) fragment: String,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Whether a text says by itself how a repository is reached.
pub(super) fn is_transport(text: &str) -> bool {
    match scheme(text) {
        Some((scheme, _)) => transport(&scheme).is_some(),
        None => short(text).is_some(),
    }
}

impl Address {
    /// `None` for what is no address of a repository, or could be taken for an option.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return None;
        }
        match scheme(text) {
            Some((scheme, rest)) => Self::with_scheme(&scheme, rest),
            None => short(text),
        }
    }

    fn with_scheme(scheme: &str, rest: &str) -> Option<Self> {
        let transport = transport(scheme)?;
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        if host.is_empty() || host.starts_with('-') {
            return None;
        }
        let (remote, credentials) = match (transport, user) {
            // The user's name is part of how ssh reaches a host; it is told no password.
            (Transport::Ssh, Some(user)) => {
                let name = user.split(':').next().unwrap_or_default();
                if name.starts_with('-') {
                    return None;
                }
                (format!("{scheme}://{name}@{host}{path}"), None)
            }
            (Transport::Http, Some(user)) => {
                let (name, word) = user.split_once(':').unwrap_or((user, ""));
                let known = format!("{}:{}", decoded(name), decoded(word));
                (format!("{scheme}://{host}{path}"), Some(known))
            }
            _ => (format!("{scheme}://{host}{path}"), None),
        };
        let shown = format!("{scheme}://{authority}{path}");
        Some(Self {
            remote,
            transport,
            host: host.to_owned(),
            credentials,
            shown: cooper_core::model::redacted(&shown).into_owned(),
            fragment: decoded(fragment),
        })
    }
}

fn scheme(text: &str) -> Option<(String, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let plain = !scheme.is_empty() && scheme.bytes().all(|it| it.is_ascii_alphanumeric());
    plain.then(|| (scheme.to_ascii_lowercase(), rest))
}

fn transport(scheme: &str) -> Option<Transport> {
    match scheme {
        "http" | "https" => Some(Transport::Http),
        "ssh" => Some(Transport::Ssh),
        "git" => Some(Transport::Git),
        _ => None,
    }
}

/// `user@host:path`, as scp has it.
fn short(text: &str) -> Option<Address> {
    let (user, rest) = text.split_once('@')?;
    let (host, rest) = rest.split_once(':')?;
    let word = |text: &str, more: char| {
        !text.is_empty()
            && !text.starts_with('-')
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == more)
    };
    if !word(user, '_') || !word(host, '.') {
        return None;
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let path = rest.split_once('?').map_or(rest, |(path, _)| path);
    let remote = format!("{user}@{host}:{path}");
    Some(Address {
        shown: remote.clone(),
        remote,
        transport: Transport::Ssh,
        host: host.to_owned(),
        credentials: None,
        fragment: fragment.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // T-A2
    #[test]
    fn passwords_leave_the_address() {
        for (text, remote, credentials, shown) in [
            (
                "https://u:CAN%41RY@host:8/a.git?x#main:sub",
                "https://host:8/a.git",
                Some("u:CANARY"),
                "https://xxxxx:xxxxx@host:8/a.git",
            ),
            (
                "http://TOKEN@host/a",
                "http://host/a",
                Some("TOKEN:"),
                "http://xxxxx@host/a",
            ),
            (
                "ssh://git:word@host/a",
                "ssh://git@host/a",
                None,
                "ssh://xxxxx:xxxxx@host/a",
            ),
            ("git://host/a", "git://host/a", None, "git://host/a"),
            (
                "git@host:a/b.git#v1",
                "git@host:a/b.git",
                None,
                "git@host:a/b.git",
            ),
        ] {
            let address = Address::parse(text).expect(text);
            assert_eq!(address.remote, remote);
            assert_eq!(address.credentials.as_deref(), credentials);
            assert_eq!(address.shown, shown);
            assert!(!format!("{address:?}").contains("CANARY"));
        }
    }

    // T-A12, T-C15
    #[test]
    fn what_could_be_an_option_is_no_address() {
        for text in [
            "",
            "-a",
            "--upload-pack=x",
            "ext::sh -c x",
            "file:///etc",
            "/etc",
            "ssh://-oProxyCommand=x/a",
            "ssh://-x@host/a",
            "-x@host:a",
            "git@-oProxyCommand:a",
            "https://",
            "https://host/a\nb",
            "https://ho st/a",
        ] {
            assert_eq!(Address::parse(text), None, "{text}");
        }
    }
}
