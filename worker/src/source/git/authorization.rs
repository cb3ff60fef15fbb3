use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind, SessionId};
use cooper_core::ports::{Sessions, SshAgent};

use super::address::{Address, Transport};
use super::wanted::{GitWanted, invalid};

/// The setting by which git authorizes itself to the repository's server, `None` when nothing is known.
///
/// Secrets come before a password in the address, those of the host before those of all hosts.
///
/// # Errors
/// When a session cannot be asked, or a secret cannot be a header.
pub(super) async fn http_header(
    wanted: &GitWanted,
    sessions: &dyn Sessions,
    ids: &[SessionId],
) -> Result<Option<(String, String)>, Failure> {
    let address = &wanted.address;
    if address.transport != Transport::Http {
        return Ok(None);
    }
    let host = &address.host;
    let (header, token) = (&wanted.header_secret, &wanted.token_secret);
    let mut value = None;
    for (name, secret, is_token) in [
        (header, format!("{header}.{host}"), false),
        (token, format!("{token}.{host}"), true),
        (header, header.clone(), false),
        (token, token.clone(), true),
    ] {
        if name.is_empty() || value.is_some() {
            continue;
        }
        value = secret_of(sessions, ids, &secret).await?.map(|found| {
            let found = String::from_utf8_lossy(&found).into_owned();
            match is_token {
                true => basic(&format!("x-access-token:{found}")),
                false => found,
            }
        });
    }
    let value = value.or_else(|| address.credentials.as_deref().map(basic));
    let Some(value) = value else { return Ok(None) };
    if value.contains(|c: char| c.is_control()) {
        return Err(invalid(
            "the secret for the git server has characters that no header can have",
        ));
    }
    Ok(Some((
        format!("http.{}.extraheader", scope(address)),
        format!("Authorization: {value}"),
    )))
}

fn basic(credentials: &str) -> String {
    format!("basic {}", STANDARD.encode(credentials))
}

/// Which addresses the header is for: this repository, or all of GitHub, whose tokens are good for submodules too.
fn scope(address: &Address) -> &str {
    const GITHUB: [&str; 2] = ["https://github.com/", "https://www.github.com/"];
    let github = GITHUB.into_iter().find(|it| address.remote.starts_with(it));
    github.unwrap_or(&address.remote)
}

async fn secret_of(
    sessions: &dyn Sessions,
    ids: &[SessionId],
    name: &str,
) -> Result<Option<Bytes>, Failure> {
    let mut failed = None;
    for id in ids {
        let asked = async { sessions.session(id).await?.secret(name).await };
        match asked.await {
            Ok(Some(value)) => return Ok(Some(value)),
            Ok(None) => {}
            Err(failure) => failed = Some(failure),
        }
    }
    failed.map_or(Ok(None), Err)
}

/// The forwarded agent that a source names.
///
/// # Errors
/// `NotFound` when no session forwards it.
pub(super) async fn agent(
    id: &str,
    sessions: &dyn Sessions,
    ids: &[SessionId],
) -> Result<Box<dyn SshAgent>, Failure> {
    let mut last = Failure::new(
        FailureKind::NotFound,
        format!("no SSH key {id:?} forwarded from the client"),
    );
    for session in ids {
        let asked = async { sessions.session(session).await?.ssh_agent(id).await };
        match asked.await {
            Ok(agent) => return Ok(agent),
            Err(failure) => last = failure,
        }
    }
    Err(last)
}
