use std::sync::{Arc, Mutex};

use super::{
    anonymous, distribution,
    fake::{Asked, Fake, Reply},
    name, password, store,
};
use crate::distribution::{Access, DistributionError, Keychain};

const MANIFEST: &str = "{}";

fn shown(asked: &[Asked]) -> Vec<String> {
    asked
        .iter()
        .filter_map(|it| it.headers.get("authorization").cloned())
        .collect()
}

/// A registry that asks for Bearer tokens of the realm that is set later.
async fn wanting_tokens(realm: Arc<Mutex<String>>) -> Fake {
    Fake::serve(
        move |asked| match asked.headers.get("authorization").map(String::as_str) {
            Some("Bearer good") => Reply::new(200).body(MANIFEST),
            _ => Reply::new(401).header(
                "www-authenticate",
                format!(
                    r#"Bearer realm="{}",service="s",scope="repository:a/b:pull""#,
                    realm.lock().unwrap()
                ),
            ),
        },
    )
    .await
}

async fn token_service() -> Fake {
    Fake::serve(|_| Reply::new(200).body(r#"{"token":"good","expires_in":300}"#)).await
}

async fn read(registry: &Fake, keychain: &Arc<dyn Keychain>) -> Result<(), DistributionError> {
    let repository = distribution()
        .repository(&name(&registry.address, "a/b"), Access::Pull, keychain)
        .unwrap();
    repository.manifest("latest").await.map(|_| ())
}

#[tokio::test]
async fn a_token_is_bought_once_and_used_for_all() {
    let service = token_service().await;
    let realm = Arc::new(Mutex::new(service.url("/token")));
    let registry = wanting_tokens(realm).await;
    let distribution = distribution();
    let repository = distribution
        .repository(&name(&registry.address, "a/b"), Access::Pull, &password())
        .unwrap();
    repository.manifest("one").await.unwrap();
    repository.manifest("two").await.unwrap();
    let again = distribution
        .repository(&name(&registry.address, "a/b"), Access::Pull, &password())
        .unwrap();
    again.manifest("three").await.unwrap();
    let bought = service.asked();
    assert_eq!(bought.len(), 1);
    assert!(bought[0].target.contains("service=s"), "{bought:?}");
    assert!(
        bought[0].target.contains("scope=repository%3Aa%2Fb%3Apull"),
        "{bought:?}"
    );
    assert_eq!(shown(&bought), ["Basic bWU6Q0FOQVJZ"]);
    // The first request came without, all others with the token and never the password.
    assert_eq!(shown(&registry.asked()), ["Bearer good"; 3]);
}

#[tokio::test]
async fn an_identity_token_is_exchanged_by_post() {
    let service = Fake::serve(|_| Reply::new(200).body(r#"{"access_token":"good"}"#)).await;
    let realm = Arc::new(Mutex::new(service.url("/token")));
    let registry = wanting_tokens(realm).await;
    let keychain: Arc<dyn Keychain> = Arc::new(super::Password {
        username: "",
        secret: "ID",
    });
    read(&registry, &keychain).await.unwrap();
    let asked = service.asked();
    assert_eq!(asked[0].method, "POST");
    let form = String::from_utf8(asked[0].body.clone()).unwrap();
    assert!(form.contains("grant_type=refresh_token"), "{form}");
    assert!(form.contains("refresh_token=ID"), "{form}");
}

// T-C4: the realm is on another host. (127.0.0.2 is this machine and another host name.)
#[tokio::test]
async fn a_realm_elsewhere_never_sees_the_password() {
    let service = token_service().await;
    let elsewhere = service.url("/token").replace("127.0.0.1", "localhost");
    let registry = wanting_tokens(Arc::new(Mutex::new(elsewhere))).await;
    // Anonymous tokens may come from anywhere that is as safe as the registry.
    let _ = read(&registry, &password()).await;
    assert_eq!(shown(&service.asked()), Vec::<String>::new());
    for asked in service.asked() {
        assert!(!asked.target.contains("me"), "{asked:?}");
    }
}

#[tokio::test]
async fn what_was_withheld_is_said_when_it_would_have_been_needed() {
    let service = Fake::serve(|_| Reply::new(403)).await;
    let elsewhere = service.url("/token").replace("127.0.0.1", "localhost");
    let registry = wanting_tokens(Arc::new(Mutex::new(elsewhere))).await;
    let error = read(&registry, &password()).await.unwrap_err().to_string();
    assert!(error.contains("token host"), "{error}");
    assert!(!error.contains("CANARY"), "{error}");
}

#[tokio::test]
async fn wrong_credentials_are_an_error_and_not_a_loop() {
    let registry =
        Fake::serve(|_| Reply::new(401).header("www-authenticate", r#"Basic realm="x""#)).await;
    let error = read(&registry, &password()).await.unwrap_err();
    assert!(
        matches!(error, DistributionError::Unauthorized { .. }),
        "{error}"
    );
    assert_eq!(registry.asked().len(), 2);
    let error = read(&registry, &anonymous()).await.unwrap_err();
    assert!(error.to_string().contains("no credentials"), "{error}");
}

// T-C4: redirects, 307 and others, to another origin.
#[tokio::test]
async fn a_redirect_to_another_origin_carries_nothing() {
    let bytes = b"layer".to_vec();
    let digest = cooper_proto::Digest::sha256_of(&bytes);
    for status in [301, 302, 303, 307, 308] {
        let given = bytes.clone();
        let cdn = Fake::serve(move |_| Reply::new(200).body(given.clone())).await;
        let target = cdn.url("/blob?signature=1");
        let registry = Fake::serve(move |asked| match asked.headers.get("authorization") {
            None => Reply::new(401).header("www-authenticate", r#"Basic realm="x""#),
            Some(_) => Reply::new(status).header("location", target.clone()),
        })
        .await;
        let repository = distribution()
            .repository(&name(&registry.address, "a/b"), Access::Pull, &password())
            .unwrap();
        let (_dir, store) = store();
        repository
            .pull_blob(&store, (&digest, 5), &[], |_| ())
            .await
            .unwrap();
        assert_eq!(shown(&cdn.asked()), Vec::<String>::new(), "{status}");
        assert_eq!(cdn.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_redirected_401_is_not_answered_with_the_password() {
    let evil =
        Fake::serve(|_| Reply::new(401).header("www-authenticate", r#"Basic realm="give""#)).await;
    let target = evil.url("/x");
    let registry = Fake::serve(move |_| Reply::new(307).header("location", target.clone())).await;
    let error = read(&registry, &password()).await.unwrap_err();
    assert!(error.to_string().contains("401"), "{error}");
    assert_eq!(shown(&evil.asked()), Vec::<String>::new());
    assert_eq!(evil.asked().len(), 1);
}

// T-C3: a foreign layer's address asks for a password.
#[tokio::test]
async fn a_foreign_layers_address_gets_nothing() {
    let evil =
        Fake::serve(|_| Reply::new(401).header("www-authenticate", r#"Basic realm="give""#)).await;
    let registry = Fake::serve(|_| Reply::new(404)).await;
    let repository = distribution()
        .repository(&name(&registry.address, "a/b"), Access::Pull, &password())
        .unwrap();
    let digest = cooper_proto::Digest::sha256_of("layer");
    let (_dir, store) = store();
    let secure = evil.url("/layer").replace("http://", "https://");
    let urls = [evil.url("/layer"), secure];
    let result = repository
        .pull_blob(&store, (&digest, 5), &urls, |_| ())
        .await;
    assert!(result.is_err());
    // Plain HTTP is not even asked; https fails in the handshake with this fake.
    assert_eq!(shown(&evil.asked()), Vec::<String>::new());
    assert_eq!(store.list().unwrap(), []);
}

#[tokio::test]
async fn docker_registry_with_htpasswd_wants_the_right_password() {
    let dir = tempfile::tempdir().unwrap();
    let registry = super::registry::Registry::start_with_basic_auth(dir.path());
    let push = |keychain: Arc<dyn Keychain>| {
        let repository = distribution()
            .repository(&name(&registry.address, "a/b"), Access::Push, &keychain)
            .unwrap();
        async move {
            repository
                .has_blob(&cooper_proto::Digest::sha256_of("x"))
                .await
        }
    };
    assert!(!push(password()).await.unwrap());
    assert!(push(anonymous()).await.is_err());
    let wrong: Arc<dyn Keychain> = Arc::new(super::Password {
        username: "me",
        secret: "wrong",
    });
    assert!(push(wrong).await.is_err());
}
