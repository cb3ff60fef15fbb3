use std::fmt;
use std::path::{Path, PathBuf};

use super::OptionsError;

/// Where a daemon listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `unix:///path`.
    Unix(PathBuf),
    /// `tcp://host:port`.
    Tcp(String),
    /// `fd://`: the sockets that systemd hands over; all of them, or the one of a number or name.
    Inherited(String),
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// `Unsupported` for a scheme of other systems, `Invalid` for what is none.
    pub(super) fn parse(text: &str) -> Result<Self, OptionsError> {
        match text.split_once("://") {
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(path.into())),
            Some(("tcp", place)) if is_host_and_port(place) => Ok(Self::Tcp(place.to_owned())),
            Some(("fd", which)) => Ok(Self::Inherited(which.to_owned())),
            Some(("npipe", _)) => Err(OptionsError::Unsupported(vec![format!("--addr={text}")])),
            _ => Err(OptionsError::Invalid(format!(
                "invalid address {text:?}; for example unix:///run/cooper/cooperd.sock or tcp://127.0.0.1:1234"
            ))),
        }
    }

    /// The file that it is, if it is one, from the folder that relative paths start from.
    pub(super) fn file(&self, here: &Path) -> Option<PathBuf> {
        match self {
            Self::Unix(path) => Some(here.join(path)),
            Self::Tcp(_) | Self::Inherited(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(place) => write!(f, "tcp://{place}"),
            Self::Inherited(which) => write!(f, "fd://{which}"),
        }
    }
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_alike() {
        for text in [
            "unix:///run/x.sock",
            "tcp://[::1]:1234",
            "tcp://host:1",
            "fd://",
            "fd://3",
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "unix://",
            "tcp://host",
            "tcp://:1",
            "tcp://h:99999",
            "/run/x",
            "http://x",
        ] {
            assert!(
                matches!(Address::parse(text), Err(OptionsError::Invalid(_))),
                "{text}"
            );
        }
    }
}
