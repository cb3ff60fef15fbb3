use std::fmt;
use std::path::PathBuf;

use url::Url;

use super::program::Program;

/// Where a daemon is, as `buildctl --addr` writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DaemonAddress {
    /// `unix:///path`.
    Unix(PathBuf),
    /// `tcp://host:port`.
    Tcp {
        /// Name or address of the host, without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// Behind the standard streams of a program.
    Program(Program),
}

/// An address that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid address {text:?}: {what}")]
pub struct AddressError {
    text: String,
    what: String,
}

impl DaemonAddress {
    /// Reads an address (parity sheet C8).
    ///
    /// # Errors
    /// When it has no known scheme, or lacks what its scheme needs.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let invalid = |what: &str| AddressError {
            text: text.to_owned(),
            what: what.to_owned(),
        };
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| invalid("it has no scheme, as in unix:///run/cooper/cooperd.sock"))?;
        match scheme {
            "unix" if rest.is_empty() => Err(invalid("it names no socket")),
            "unix" => Ok(Self::Unix(rest.into())),
            "tcp" => {
                let (host, port) = rest
                    .rsplit_once(':')
                    .ok_or_else(|| invalid("it has no port"))?;
                let host = host
                    .strip_prefix('[')
                    .and_then(|host| host.strip_suffix(']'))
                    .unwrap_or(host);
                let port = port.parse().map_err(|_| invalid("its port is no number"))?;
                if host.is_empty() {
                    return Err(invalid("it has no host"));
                }
                Ok(Self::Tcp {
                    host: host.to_owned(),
                    port,
                })
            }
            "npipe" => Err(invalid("named pipes are of Windows")),
            _ => {
                let url = Url::parse(text).map_err(|error| invalid(&error.to_string()))?;
                let program = Program::of_url(&url).map_err(|what| invalid(&what))?;
                Ok(Self::Program(program))
            }
        }
    }

    /// The name that a daemon's certificate should have.
    pub(super) fn host(&self) -> &str {
        match self {
            Self::Tcp { host, .. } => host,
            Self::Unix(_) | Self::Program(_) => "",
        }
    }
}

impl fmt::Display for DaemonAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Self::Program(program) => write!(f, "{program}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_alike() {
        for text in [
            "unix:///run/x.sock",
            "tcp://host:1234",
            "tcp://[::1]:1234",
            "docker-container://builder",
            "ssh://me@host:22/run/x.sock",
        ] {
            assert_eq!(DaemonAddress::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "/run/x.sock",
            "unix://",
            "tcp://host",
            "tcp://:1",
            "tcp://host:99999",
            "npipe:////./pipe/x",
            "http://host",
            "docker-container://",
            "docker-container://-x",
            "ssh://me:secret@host",
            "kube-pod://pod?namespace=A",
        ] {
            assert!(DaemonAddress::parse(text).is_err(), "{text}");
        }
    }
}
