use std::{collections::HashMap, sync::Arc, time::Instant};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use cooper_core::{
    model::{Failure, SessionId},
    ports::{Credentials, Session, Sessions, TokenQuery},
};
use reqwest::{
    Url,
    header::{HeaderMap, HeaderValue},
};
use tokio::sync::Mutex;

use super::{
    DistributionError,
    bought::BoughtTokens,
    challenge::{Challenge, challenges},
    token::{Token, TokenRequest, fetch},
    transport::Line,
};

/// Where the passwords for registries come from.
#[async_trait]
pub trait Keychain: Send + Sync {
    /// Two keychains with the same identity give the same answers, so that tokens bought
    /// with one serve the other.
    fn identity(&self) -> String;

    /// Name and password for a host as it is dialled, `None` for anonymous.
    ///
    /// # Errors
    /// When whoever knows could not be asked.
    async fn credentials(&self, host: &str) -> Result<Option<Credentials>, Failure>;

    /// Who buys tokens for the host in our place, so that its password stays away from us; `None`, as here, when we
    /// are to buy them. Another `salt` gives another key.
    ///
    /// # Errors
    /// When whoever knows could not be asked.
    async fn authority(&self, host: &str, salt: &[u8]) -> Result<Option<Authority>, Failure> {
        let _ = (host, salt);
        Ok(None)
    }
}

/// A client that buys tokens, and the key by which it shows that it is the same as another.
#[derive(Clone)]
pub struct Authority {
    /// The client.
    pub session: Arc<dyn Session>,
    /// Its Ed25519 public key.
    pub key: Bytes,
}

/// The keychain that has nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

#[async_trait]
impl Keychain for Anonymous {
    fn identity(&self) -> String {
        String::new()
    }

    async fn credentials(&self, _host: &str) -> Result<Option<Credentials>, Failure> {
        Ok(None)
    }
}

/// The keychains of a build's clients: the first session that knows a host answers for it.
pub struct SessionKeychain {
    sessions: Arc<dyn Sessions>,
    ids: Vec<SessionId>,
}

impl SessionKeychain {
    /// The keychain of these sessions, the best first.
    pub fn new(sessions: Arc<dyn Sessions>, ids: &[SessionId]) -> Self {
        Self {
            sessions,
            ids: ids.to_vec(),
        }
    }
}

#[async_trait]
impl Keychain for SessionKeychain {
    fn identity(&self) -> String {
        let ids: Vec<&str> = self.ids.iter().map(|id| id.0.as_str()).collect();
        ids.join("\n")
    }

    async fn credentials(&self, host: &str) -> Result<Option<Credentials>, Failure> {
        let mut refusal = None;
        for id in &self.ids {
            let found = match self.sessions.session(id).await {
                Ok(session) => session.credentials(host).await,
                Err(gone) => Err(gone),
            };
            match found {
                Ok(Some(credentials)) => return Ok(Some(credentials)),
                Ok(None) => {}
                Err(failure) => refusal = Some(failure),
            }
        }
        refusal.map_or(Ok(None), Err)
    }

    async fn authority(&self, host: &str, salt: &[u8]) -> Result<Option<Authority>, Failure> {
        for id in &self.ids {
            // One that is gone is said by who asks it for credentials.
            let Ok(session) = self.sessions.session(id).await else {
                continue;
            };
            if let Some(key) = session.token_authority(host, salt).await? {
                return Ok(Some(Authority { session, key }));
            }
        }
        Ok(None)
    }
}

/// What one build may show to one host.
pub(super) struct Authorizer {
    keychain: Arc<dyn Keychain>,
    bought: Arc<BoughtTokens>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How the host wants to be spoken to, once it said so.
    way: Way,
    /// Asked for once; the inner `None` is anonymous.
    credentials: Option<Option<Credentials>>,
    tokens: HashMap<String, Token>,
}

#[derive(Clone, Default)]
enum Way {
    #[default]
    Unknown,
    Basic(HeaderValue),
    Bearer {
        realm: Url,
        service: Option<String>,
    },
}

impl Authorizer {
    pub(super) fn new(keychain: Arc<dyn Keychain>, bought: Arc<BoughtTokens>) -> Self {
        Self {
            keychain,
            bought,
            state: Mutex::new(State::default()),
        }
    }

    /// What to send with a request, as far as the host's wishes are known already.
    pub(super) async fn header(
        &self,
        line: &Line<'_>,
    ) -> Result<Option<HeaderValue>, DistributionError> {
        let mut state = self.state.lock().await;
        match state.way.clone() {
            Way::Unknown => Ok(None),
            Way::Basic(value) => Ok(Some(value)),
            Way::Bearer { realm, service } => {
                let token = self.token(&mut state, line, realm, service, &[]).await?;
                Ok(Some(token))
            }
        }
    }

    /// What to send after the host answered 401 to `used`.
    ///
    /// # Errors
    /// `Unauthorized` when we have nothing better than what was refused.
    pub(super) async fn answer(
        &self,
        line: &Line<'_>,
        headers: &HeaderMap,
        used: Option<&HeaderValue>,
        round: u32,
    ) -> Result<Option<HeaderValue>, DistributionError> {
        let offered = challenges(headers);
        let mut state = self.state.lock().await;
        if round > 2 {
            return Err(refused(line, "what we showed was not accepted"));
        }
        if let Some(bearer) = offered.iter().find(|it| it.scheme == "bearer") {
            return self.answer_bearer(&mut state, line, bearer, used).await;
        }
        if offered.iter().any(|it| it.scheme == "basic") {
            return self.answer_basic(&mut state, line, used).await;
        }
        Err(refused(
            line,
            "it asks for no way of authorization that we know",
        ))
    }

    async fn answer_bearer(
        &self,
        state: &mut State,
        line: &Line<'_>,
        challenge: &Challenge,
        used: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, DistributionError> {
        let realm = challenge
            .parameter("realm")
            .and_then(|realm| Url::parse(realm).ok())
            .ok_or_else(|| refused(line, "its challenge names no token service"))?;
        if realm.scheme() != "https" && line.host.scheme() == "https" {
            return Err(refused(line, "its token service is not reached by https"));
        }
        let service = challenge.parameter("service").map(ToOwned::to_owned);
        if let Some(used) = used {
            state.tokens.retain(|_, token| token.header != used);
            self.bought.forget(used);
        }
        state.way = Way::Bearer {
            realm: realm.clone(),
            service: service.clone(),
        };
        let wanted: Vec<String> = challenge
            .parameter("scope")
            .map(|scopes| scopes.split(' ').map(ToOwned::to_owned).collect())
            .unwrap_or_default();
        let token = self.token(state, line, realm, service, &wanted).await?;
        Ok(Some(token))
    }

    async fn answer_basic(
        &self,
        state: &mut State,
        line: &Line<'_>,
        used: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, DistributionError> {
        let Some(credentials) = self.credentials(state, line).await? else {
            return Err(refused(line, "no credentials are known for it"));
        };
        let value = basic(&credentials);
        if used == Some(&value) {
            return Err(refused(line, "name or password are wrong"));
        }
        state.way = Way::Basic(value.clone());
        Ok(Some(value))
    }

    async fn token(
        &self,
        state: &mut State,
        line: &Line<'_>,
        realm: Url,
        service: Option<String>,
        wanted: &[String],
    ) -> Result<HeaderValue, DistributionError> {
        let mut scopes: Vec<String> = line.scopes.to_vec();
        for scope in wanted {
            // The challenge of a mirror may name the repository differently.
            if !scope.is_empty() && !scopes.iter().any(|ours| covers(ours, scope)) {
                scopes.push(scope.clone());
            }
        }
        let key = line.scopes.join(" ");
        if let Some(token) = state.tokens.get(&key)
            && token.expires > Instant::now()
        {
            return Ok(token.header.clone());
        }
        let trusted = line.host.trusts_token_service(&realm);
        // A client is sent to no service that we would not show its password to ourselves.
        if trusted {
            let query = TokenQuery {
                host: line.host.host.clone(),
                realm: realm.to_string(),
                service: service.clone().unwrap_or_default(),
                scopes: scopes.clone(),
            };
            if let Some(token) = self.bought.token(self.keychain.as_ref(), query).await? {
                let header = token.header.clone();
                state.tokens.insert(key, token);
                return Ok(header);
            }
        }
        let credentials = self.credentials(state, line).await?;
        let withheld = credentials.is_some() && !trusted;
        let request = TokenRequest {
            realm,
            service,
            scopes,
            credentials: credentials.filter(|_| trusted),
        };
        let token = fetch(line, &request)
            .await
            .map_err(|error| match withheld {
                true => refused(
                    line,
                    &format!(
                        "its token service {} is another host, which is not shown the password \
                         unless the registry's settings list it as a token host ({error})",
                        request.realm.host_str().unwrap_or_default()
                    ),
                ),
                false => error,
            })?;
        let header = token.header.clone();
        state.tokens.insert(key, token);
        Ok(header)
    }

    async fn credentials(
        &self,
        state: &mut State,
        line: &Line<'_>,
    ) -> Result<Option<Credentials>, DistributionError> {
        if let Some(known) = &state.credentials {
            return Ok(known.clone());
        }
        let host = &line.host.host;
        let found = self
            .keychain
            .credentials(host)
            .await
            .map_err(|source| DistributionError::Credentials {
                host: host.clone(),
                source,
            })?
            .filter(|credentials| !credentials.secret.is_empty());
        state.credentials = Some(found.clone());
        Ok(found)
    }
}

/// Whether the actions of `ours` include those of `theirs` for the same thing.
fn covers(ours: &str, theirs: &str) -> bool {
    let split = |scope: &str| {
        scope
            .rsplit_once(':')
            .map(|(thing, actions)| (thing.to_owned(), actions.to_owned()))
    };
    match (split(ours), split(theirs)) {
        (Some((a, actions)), Some((b, wanted))) if a == b => wanted
            .split(',')
            .all(|one| actions.split(',').any(|it| it == one)),
        _ => ours == theirs,
    }
}

/// The value of an `Authorization` header for Basic (RFC 7617).
pub(super) fn basic(credentials: &Credentials) -> HeaderValue {
    let pair = format!("{}:{}", credentials.username, credentials.secret);
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)))
        .expect("base64 is made of header characters");
    value.set_sensitive(true);
    value
}

fn refused(line: &Line<'_>, reason: &str) -> DistributionError {
    DistributionError::Unauthorized {
        host: line.host.host.clone(),
        scope: line.scopes.join(" "),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_covers_one_with_fewer_actions() {
        assert!(covers("repository:a:pull,push", "repository:a:push"));
        assert!(!covers("repository:a:pull", "repository:a:push"));
        assert!(!covers("repository:a:pull", "repository:b:pull"));
        assert!(covers("x", "x"));
    }
}
