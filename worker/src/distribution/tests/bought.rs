//! Clients that buy tokens themselves.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bytes::Bytes;
use cooper_core::{
    model::{Failure, SessionId},
    ports::{
        Credentials, DirFilter, ExportTarget, ExportTargetRequest, LocalDir, RegistryToken,
        Session, TokenQuery,
    },
};

use super::{
    distribution,
    fake::{Fake, Reply},
    name,
};
use crate::distribution::{Access, Authority, Distribution, Keychain};

/// A client with a key, which may say that its key is another.
struct Client {
    id: SessionId,
    pair: Ed25519KeyPair,
    claims: Bytes,
    bought: AtomicUsize,
    queries: Mutex<Vec<TokenQuery>>,
}

impl Client {
    fn new(id: &str, seed: u8, claims: u8) -> Arc<Self> {
        let pair = |seed| Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a key");
        Arc::new(Self {
            id: SessionId(id.into()),
            pair: pair(seed),
            claims: Bytes::copy_from_slice(pair(claims).public_key().as_ref()),
            bought: AtomicUsize::new(0),
            queries: Mutex::default(),
        })
    }

    fn bought(&self) -> usize {
        self.bought.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Session for Client {
    fn id(&self) -> &SessionId {
        &self.id
    }

    fn shared_key(&self) -> &str {
        ""
    }

    async fn local_dir(&self, _: &str, _: &DirFilter) -> Result<LocalDir, Failure> {
        Err(Failure::unsupported("folders"))
    }

    async fn secret(&self, _: &str) -> Result<Option<Bytes>, Failure> {
        Ok(None)
    }

    async fn credentials(&self, _: &str) -> Result<Option<Credentials>, Failure> {
        Ok(None)
    }

    async fn token_authority(&self, _: &str, _: &[u8]) -> Result<Option<Bytes>, Failure> {
        Ok(Some(self.claims.clone()))
    }

    async fn sign_token_authority(
        &self,
        _: &str,
        _: &[u8],
        payload: &[u8],
    ) -> Result<Bytes, Failure> {
        let mut signed = self.pair.sign(payload).as_ref().to_vec();
        signed.extend(payload);
        Ok(signed.into())
    }

    async fn fetch_token(&self, query: &TokenQuery) -> Result<RegistryToken, Failure> {
        self.bought.fetch_add(1, Ordering::SeqCst);
        self.queries.lock().unwrap().push(query.clone());
        Ok(RegistryToken {
            token: "good".into(),
            ..RegistryToken::default()
        })
    }

    async fn export_target(&self, _: ExportTargetRequest) -> Result<ExportTarget, Failure> {
        Err(Failure::unsupported("exports"))
    }
}

struct Clients(Arc<Client>);

#[async_trait]
impl Keychain for Clients {
    fn identity(&self) -> String {
        self.0.id.0.clone()
    }

    async fn credentials(&self, _: &str) -> Result<Option<Credentials>, Failure> {
        panic!("a password is asked for")
    }

    async fn authority(&self, _: &str, _: &[u8]) -> Result<Option<Authority>, Failure> {
        let session = Arc::<Client>::clone(&self.0);
        let key = self.0.claims.clone();
        Ok(Some(Authority { session, key }))
    }
}

/// A registry whose token service nobody should have to reach from here.
async fn registry() -> Fake {
    Fake::serve(
        |asked| match asked.headers.get("authorization").map(String::as_str) {
            Some("Bearer good") => Reply::new(200).body("{}"),
            _ => Reply::new(401).header(
                "www-authenticate",
                r#"Bearer realm="http://127.0.0.1:1/token",service="s",scope="repository:a/b:pull""#,
            ),
        },
    )
    .await
}

async fn read(distribution: &Distribution, registry: &Fake, client: &Arc<Client>) {
    let keychain: Arc<dyn Keychain> = Arc::new(Clients(Arc::clone(client)));
    let repository = distribution
        .repository(&name(&registry.address, "a/b"), Access::Pull, &keychain)
        .unwrap();
    repository.manifest("latest").await.unwrap();
    repository.manifest("other").await.unwrap();
}

#[tokio::test]
async fn a_client_buys_its_tokens_and_shows_no_password() {
    let (registry, distribution) = (registry().await, distribution());
    let client = Client::new("one", 1, 1);
    read(&distribution, &registry, &client).await;
    assert_eq!(client.bought(), 1);
    let query = client.queries.lock().unwrap()[0].clone();
    assert_eq!(query.host, registry.address);
    assert_eq!(query.realm, "http://127.0.0.1:1/token");
    assert_eq!(query.service, "s");
    assert_eq!(query.scopes, ["repository:a/b:pull"]);
}

#[tokio::test]
async fn a_token_serves_another_client_that_proves_to_be_the_same_user() {
    let (registry, distribution) = (registry().await, distribution());
    let first = Client::new("one", 1, 1);
    let second = Client::new("two", 1, 1);
    read(&distribution, &registry, &first).await;
    read(&distribution, &registry, &second).await;
    assert_eq!((first.bought(), second.bought()), (1, 0));
}

#[tokio::test]
async fn who_only_claims_to_be_another_buys_a_token_of_its_own() {
    let (registry, distribution) = (registry().await, distribution());
    let first = Client::new("one", 1, 1);
    let impostor = Client::new("two", 2, 1);
    let stranger = Client::new("three", 3, 3);
    read(&distribution, &registry, &impostor).await;
    read(&distribution, &registry, &first).await;
    read(&distribution, &registry, &stranger).await;
    let bought = [&impostor, &first, &stranger].map(|client| client.bought());
    assert_eq!(bought, [1, 1, 1]);
}
