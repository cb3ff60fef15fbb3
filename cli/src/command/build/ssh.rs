use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::UsageError;

/// A socket that a build may talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshSource {
    /// Where it is.
    pub socket: PathBuf,
    /// Whether everything passes, and not only what a step may ask an agent.
    pub raw: bool,
}

/// Where the user's own agent listens.
const AGENT_VARIABLE: &str = "SSH_AUTH_SOCK";

/// Reads the values of `--ssh`: `ID[=SOCKET[,raw=BOOL]]`.
///
/// # Errors
/// When a value has no socket, names an id a second time, or names key files.
pub(in crate::command) fn parse(
    texts: &[String],
    here: &Path,
    variables: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, SshSource>, UsageError> {
    let mut sources = BTreeMap::new();
    for text in texts {
        let (id, source) = parse_one(text, here, variables)?;
        if sources.insert(id.clone(), source).is_some() {
            return Err(UsageError::plain(format!(
                "--ssh has the id {id:?} a second time"
            )));
        }
    }
    Ok(sources)
}

fn parse_one(
    text: &str,
    here: &Path,
    variables: &BTreeMap<String, String>,
) -> Result<(String, SshSource), UsageError> {
    let invalid = |what: &str| {
        UsageError::new(
            format!("invalid value {text:?} of --ssh: {what}"),
            "for example default, or deploy=/run/user/1000/agent.sock",
        )
    };
    let (id, rest) = text.split_once('=').unwrap_or((text, ""));
    if id.is_empty() {
        return Err(invalid("it has no id"));
    }
    let (mut socket, mut raw) = (None, false);
    for field in rest.split(',').filter(|field| !field.is_empty()) {
        match field.strip_prefix("raw=") {
            Some(value) => {
                raw = value
                    .parse()
                    .map_err(|_| invalid("raw is neither true nor false"))?;
            }
            None if socket.is_none() => socket = Some(here.join(field)),
            None => {
                return Err(UsageError::unsupported(format!(
                    "several keys in --ssh {text}"
                )));
            }
        }
    }
    let socket = match socket {
        Some(socket) => socket,
        None if raw => return Err(invalid("raw needs a socket")),
        None => variables
            .get(AGENT_VARIABLE)
            .filter(|socket| !socket.is_empty())
            .map(|socket| here.join(socket))
            .ok_or_else(|| invalid("SSH_AUTH_SOCK is not set"))?,
    };
    if socket.is_file() {
        return Err(UsageError::unsupported(format!(
            "a key file in --ssh {text}"
        )));
    }
    Ok((id.to_owned(), SshSource { socket, raw }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<BTreeMap<String, SshSource>, UsageError> {
        let variables = [(AGENT_VARIABLE.to_owned(), "/agent".to_owned())].into();
        parse(&[text.to_owned()], Path::new("/here"), &variables)
    }

    #[test]
    fn id_alone_means_the_user_s_agent() {
        let source = |socket: &str, raw| SshSource {
            socket: socket.into(),
            raw,
        };
        for (text, id, expected) in [
            ("default", "default", source("/agent", false)),
            ("a=", "a", source("/agent", false)),
            ("a=sock", "a", source("/here/sock", false)),
            ("a=/sock,raw=true", "a", source("/sock", true)),
        ] {
            assert_eq!(one(text).unwrap()[id], expected, "{text}");
        }
    }

    #[test]
    fn what_leads_to_no_socket_is_refused() {
        for text in ["", "=x", "a=raw=true", "a=/s,raw=maybe", "a=/k1,/k2"] {
            assert!(one(text).is_err(), "{text}");
        }
        let key = tempfile::NamedTempFile::new().unwrap();
        assert!(one(&format!("a={}", key.path().display())).is_err());
        assert!(parse(&["default".into()], Path::new("/"), &BTreeMap::new()).is_err());
        let twice = ["default".to_owned(), "default=/s".to_owned()];
        let variables = [(AGENT_VARIABLE.to_owned(), "/agent".to_owned())].into();
        assert!(parse(&twice, Path::new("/"), &variables).is_err());
    }
}
