//! Tokens that clients bought. One serves every client that proves to be the same as the one that bought it.

use std::{
    collections::HashMap,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use bytes::Bytes;
use cooper_core::{
    model::Failure,
    ports::{RegistryToken, TokenQuery},
};
use parking_lot::Mutex;
use reqwest::header::HeaderValue;

use super::{
    DistributionError, Keychain,
    auth::Authority,
    token::{DEFAULT_LIFE, MARGIN, Token, header},
};

/// Above this many tokens all are forgotten; they are bought anew.
const MOST_TOKENS: usize = 1024;

/// Length of a signature in front of what it signs (NaCl's `sign`).
///
/// # Units
/// Bytes.
const SIGNATURE_BYTES: usize = 64;

/// A client's key at a host, and what its token is for.
type Purchase = (Bytes, TokenKey);

/// What of a query a token answers; hosts have keys of their own already.
type TokenKey = (String, String, String, Vec<String>);

/// Tokens by who bought them.
pub(super) struct BoughtTokens {
    /// Of this process, so that clients' keys are good for nothing later.
    salt: [u8; 32],
    tokens: Mutex<HashMap<Purchase, Token>>,
}

impl Default for BoughtTokens {
    fn default() -> Self {
        Self {
            salt: rand::random(),
            tokens: Mutex::default(),
        }
    }
}

impl BoughtTokens {
    /// A token that the client buys or, once it showed who it is, has bought before; `None` when it buys none.
    ///
    /// # Errors
    /// When the client cannot buy it.
    pub(super) async fn token(
        &self,
        keychain: &dyn Keychain,
        query: TokenQuery,
    ) -> Result<Option<Token>, DistributionError> {
        let host = query.host.clone();
        self.ask(keychain, query)
            .await
            .map_err(|source| DistributionError::Credentials { host, source })
    }

    async fn ask(
        &self,
        keychain: &dyn Keychain,
        query: TokenQuery,
    ) -> Result<Option<Token>, Failure> {
        let Some(authority) = keychain.authority(&query.host, &self.salt).await? else {
            return Ok(None);
        };
        // Shown before a token is kept, too: nobody else's tokens come to lie under a client's key.
        let is_shown = self.is_the_same(&authority, &query.host).await;
        let place = (authority.key.clone(), key(&query));
        if let Some(known) = self.known(&place).filter(|_| is_shown) {
            return Ok(Some(known));
        }
        let token = read(authority.session.fetch_token(&query).await?)?;
        if is_shown {
            let mut tokens = self.tokens.lock();
            if tokens.len() >= MOST_TOKENS {
                tokens.clear();
            }
            tokens.insert(place, token.clone());
        }
        Ok(Some(token))
    }

    /// Forgets a token that a registry did not take.
    pub(super) fn forget(&self, refused: &HeaderValue) {
        self.tokens
            .lock()
            .retain(|_, token| token.header != refused);
    }

    fn known(&self, place: &Purchase) -> Option<Token> {
        let tokens = self.tokens.lock();
        let token = tokens.get(place)?;
        (token.expires > Instant::now()).then(|| token.clone())
    }

    /// Whether a client has the secret half of the key that it says is its own: it signs what nobody knew before.
    async fn is_the_same(&self, authority: &Authority, host: &str) -> bool {
        let payload: [u8; 32] = rand::random();
        let signed = authority
            .session
            .sign_token_authority(host, &self.salt, &payload);
        match signed.await {
            Ok(signed) => is_signed(&authority.key, &signed, &payload),
            Err(failure) => {
                tracing::debug!(%failure, host, "a client did not show who it is");
                false
            }
        }
    }
}

fn key(query: &TokenQuery) -> TokenKey {
    let query = query.clone();
    (query.host, query.realm, query.service, query.scopes)
}

/// Whether `signed` is a signature by the key and then the payload.
fn is_signed(key: &[u8], signed: &[u8], payload: &[u8]) -> bool {
    let Some((signature, content)) = signed.split_at_checked(SIGNATURE_BYTES) else {
        return false;
    };
    let key = UnparsedPublicKey::new(&ED25519, key);
    content == payload && key.verify(payload, signature).is_ok()
}

fn read(bought: RegistryToken) -> Result<Token, Failure> {
    let header = header(&bought.token).ok_or_else(|| {
        Failure::new(
            cooper_core::model::FailureKind::Denied,
            "the client gave no token, or one with characters that cannot be sent",
        )
    })?;
    let age = match (bought.issued, SystemTime::now().duration_since(UNIX_EPOCH)) {
        (Some(issued), Ok(now)) => now.saturating_sub(Duration::from_secs(issued)),
        _ => Duration::ZERO,
    };
    let life = bought.life.unwrap_or(DEFAULT_LIFE).saturating_sub(age);
    Ok(Token {
        header,
        expires: Instant::now() + life.min(super::token::LONGEST_LIFE).saturating_sub(MARGIN),
    })
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    #[test]
    fn a_signature_is_of_its_key_and_its_payload() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
        let other = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).expect("a key");
        let key = pair.public_key().as_ref();
        let mut signed = pair.sign(b"payload").as_ref().to_vec();
        signed.extend(b"payload");
        assert!(is_signed(key, &signed, b"payload"));
        assert!(!is_signed(key, &signed, b"another"));
        assert!(!is_signed(other.public_key().as_ref(), &signed, b"payload"));
        assert!(!is_signed(key, &signed[..63], b"payload"));
        assert!(!is_signed(key, &[], b""));
    }
}
